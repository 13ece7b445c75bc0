from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import pertorch as package
from pertorch.ds import Screen
from pertorch.pp._methods import ALIASES, METHODS


def labels(path: Path) -> pd.Series:
    return pd.read_csv(path, index_col="cell")["assigned_guide"]


@pytest.mark.parametrize("threshold", [None, 9])
def test_max(pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path, threshold: int | None) -> None:
    options = [] if threshold is None else ["--threshold", threshold]
    ran = pertorch("guides", guides_file, *options, "--out", tmp_path / "calls.csv")
    counts = screen.guides.X.toarray()
    truth = np.where(counts.max(1) >= (threshold or 5), screen.guides.var_names[counts.argmax(1)], "negative")
    assert list(labels(tmp_path / "calls.csv")) == list(truth)
    none = int((truth == "negative").sum())
    assert ran.out.startswith(f"no guide {none} ({none / 400:.1%})   one guide {400 - none:,}")
    assert f"max, at least {threshold or 5} counts" in ran.err


def test_threshold(pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path) -> None:
    ran = pertorch("guides", guides_file, "--method", "threshold", "--threshold", 2, "--out", tmp_path / "a.h5ad")
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    passes = screen.guides.X.toarray() >= 2
    np.testing.assert_array_equal(found.layers["assigned_guides"].toarray(), passes)
    truth = ["+".join(screen.guides.var_names[row]) or "negative" for row in passes]
    assert list(found.obs["assigned_guide"]) == truth
    assert f"several {int((passes.sum(1) > 1).sum()):,}" in ran.out


def test_mixture(pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path) -> None:
    ran = pertorch("guides", guides_file, "--method", "mixture", "--out", tmp_path / "a.h5ad")
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    truth = package.GuideAssignment().assign_mixture_model(screen.guides.copy(), only_return_results=True)
    assert list(found.obs["assigned_guide"]) == list(truth)
    assert ran.out.splitlines()[1].split() == ["guide", "cells", "threshold"]


def test_cells_by_guide(pertorch: Callable, screen: Screen, guides_file: Path) -> None:
    rows = [row.split() for row in pertorch("guides", guides_file).out.splitlines()[2:]]
    counts = screen.guides.X.toarray()
    called = pd.Series(screen.guides.var_names[counts.argmax(1)][counts.max(1) >= 5]).value_counts()
    assert {guide: int(cells) for guide, cells in rows} == called.reindex(
        screen.guides.var_names, fill_value=0
    ).to_dict()


def test_a_layer(pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path) -> None:
    adata = AnnData(screen.guides.X * 0, var=screen.guides.var, layers={"counts": screen.guides.X})
    adata.write_h5ad(tmp_path / "layered.h5ad")
    pertorch("guides", tmp_path / "layered.h5ad", "--layer", "counts", "--out", tmp_path / "layer.csv")
    pertorch("guides", guides_file, "--out", tmp_path / "x.csv")
    assert list(labels(tmp_path / "layer.csv")) == list(labels(tmp_path / "x.csv"))


@pytest.mark.parametrize("method", [*METHODS, *ALIASES])
def test_every_method_of_the_library(
    pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path, method: str
) -> None:
    """As the library's call, from a file to a file."""
    pertorch("guides", guides_file, "--method", method, "--out", tmp_path / "a.h5ad")
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    options = {"assignment_threshold": 5.0} if ALIASES.get(method, method) in ("threshold", "maximum") else {}
    truth = package.GuideAssignment().assign(
        screen.guides.copy(),
        method=method,
        max_assignments_per_cell=5 if method == "poisson_gauss" else screen.guides.n_vars,
        only_return_results=True,
        **options,
    )
    assert list(found.obs["assigned_guide"]) == list(truth)


def test_options_and_batches(pertorch: Callable, screen: Screen, tmp_path: Path) -> None:
    guides = screen.guides.copy()
    guides.obs["lane"] = np.where(np.arange(guides.n_obs) % 2, "a", "b")
    guides.write_h5ad(tmp_path / "lanes.h5ad")
    ran = pertorch(
        "guides", tmp_path / "lanes.h5ad", "--method", "ratio", "--set", "ratio=0.8", "--out", tmp_path / "c.csv"
    )
    truth = package.GuideAssignment().assign(guides, method="ratio", ratio=0.8, only_return_results=True)
    assert list(labels(tmp_path / "c.csv")) == list(truth)
    assert "ratio, ratio 0.8" in ran.err
    out = tmp_path / "g.h5ad"
    pertorch("guides", tmp_path / "lanes.h5ad", "--method", "gauss", "--batch-key", "lane", "--out", out)
    assert set(anndata.read_h5ad(out).uns["guide_assignment"]["parameters"]["batch"]) == {"a", "b"}
