from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import pertorch as package
from pertorch.ds import Screen, simulate_screen

ASKED = ["--groupby", "gene_target", "--control", "NT"]


@pytest.fixture(scope="module")
def strong() -> Screen:
    return simulate_screen(900, 150, 3, effects=[2.5, 2.0, 0.0], n_programs=2, program_size=40, random_state=1)


@pytest.fixture(scope="module")
def file(strong: Screen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strong") / "screen.h5ad"
    strong.genes.write_h5ad(path)
    return path


@pytest.mark.parametrize("split", [[], ["--split-by", "batch"]])
def test_classes_and_scores(pertorch: Callable, strong: Screen, file: Path, tmp_path: Path, split: list[str]) -> None:
    """What the library says of the same expression in the same space, and mostly the truth that was planted."""
    ran = pertorch("mixscape", file, *ASKED, *split, "--mixscale", "--out", tmp_path / "calls.csv")
    assert ran.code == 0
    calls = pd.read_csv(tmp_path / "calls.csv", index_col="cell")
    counts = strong.genes.X.toarray().astype(float)
    adata = AnnData(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4).astype(np.float32), obs=strong.genes.obs)
    centred = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    u, s, _ = np.linalg.svd(centred - centred.mean(0), full_matrices=False)
    adata.obsm["X_pca"] = u[:, :50] * s[:50]
    tool, how = package.Mixscape(), {"split_by": "batch" if split else None}
    tool.perturbation_signature(adata, "gene_target", "NT", **how)
    tool.mixscape(adata, "gene_target", "NT", **how)
    tool.mixscale(adata, "gene_target", "NT", **how)
    assert calls["mixscape_class"].tolist() == adata.obs["mixscape_class"].tolist()
    np.testing.assert_allclose(calls["mixscale_score"], adata.obs["mixscale_score"], atol=1e-3)
    right = (calls["mixscape_class_global"] == "KO").to_numpy() == strong.genes.obs["responder"].to_numpy()
    assert right[adata.obs["gene_target"].isin(["target1", "target2"])].mean() > 0.9
    header, first = (line.split() for line in ran.out.splitlines()[:2])
    assert header == ["target", *(["split"] if split else []), "cells", "markers", "perturbed", "score", "status"]
    assert first[0] in ("target1", "target2")


def test_annotated(pertorch: Callable, strong: Screen, file: Path, tmp_path: Path) -> None:
    ran = pertorch(
        "mixscape", file, *ASKED, "--type", "KD", "--out", tmp_path / "a.h5ad", "--markers", tmp_path / "m.csv"
    )
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert (found.X != strong.genes.X).nnz == 0
    assert {"target1 KD", "target1 NP", "NT"} <= set(found.obs["mixscape_class"])
    status = found.uns["pertorch_mixscape"]["mixscape_status"].set_index("target")["status"]
    assert status["target3"] == "too few markers"
    markers = pd.read_csv(tmp_path / "m.csv")
    assert (markers["pval_adj"] < 0.05).all()
    assert markers["target"].value_counts()["target1"] >= 5
    assert "log1p" in ran.err


def test_what_is_log_normalised_is_taken_as_it_is(
    pertorch: Callable, strong: Screen, file: Path, tmp_path: Path
) -> None:
    logged = strong.genes.copy()
    counts = logged.X.toarray().astype(float)
    logged.X = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    logged.write_h5ad(tmp_path / "logged.h5ad")
    outs = []
    for path in (file, tmp_path / "logged.h5ad"):
        assert pertorch("mixscape", path, *ASKED, "--out", tmp_path / "c.csv").code == 0
        outs.append(pd.read_csv(tmp_path / "c.csv")["mixscape_class"])
    pd.testing.assert_series_equal(*outs)


BAD = {
    "no such column": (["--groupby", "gene_targt", "--control", "NT"], "did you mean 'gene_target'?"),
    "control misspelt": (["--groupby", "gene_target", "--control", "NTT"], "did you mean 'NT'?"),
    "no control": (["--groupby", "gene_target"], "arguments are required: --control"),
    "no such split": ([*ASKED, "--split-by", "batches"], "did you mean 'batch'?"),
    "no such embedding": ([*ASKED, "--obsm", "X_umap"], "obsm key 'X_umap' not found"),
    "no such layer": ([*ASKED, "--counts", "raw"], "layers key 'raw' not found"),
    "no neighbours": ([*ASKED, "--neighbors", "0"], "'0' is not a whole number of at least 1"),
    "no gene left": ([*ASKED, "--exclude-genes", "*"], "leaves none of 120 genes"),
    "output of another kind": ([*ASKED, "--out", "t.tsv"], "does not end in .csv or .h5ad"),
    "markers of another kind": ([*ASKED, "--markers", "m.h5ad"], "--markers m.h5ad does not end in .csv"),
    "no such device": ([*ASKED, "--device", "tpu"], "device='tpu' is not understood"),
    "p that is none": ([*ASKED, "--pval", "small"], "invalid float value: 'small'"),
}


@pytest.mark.parametrize(("options", "says"), BAD.values(), ids=BAD.keys())
def test_bad_requests(pertorch: Callable, screen_file: Path, options: list[str], says: str) -> None:
    code, out, err = pertorch("mixscape", screen_file, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("pertorch: ")
    assert says in err


def test_bad_files(pertorch: Callable, screen: Screen, tmp_path: Path) -> None:
    scaled = screen.genes.copy()
    scaled.X = scaled.X.toarray() - 0.5
    scaled.write_h5ad(tmp_path / "scaled.h5ad")
    screen.genes[screen.genes.obs["gene_target"] == "NT"].copy().write_h5ad(tmp_path / "controls.h5ad")
    for name, says in (
        ("scaled", "not scaled"),
        ("controls", "no group to compare with 'NT'"),
        ("absent", "not there"),
    ):
        code, out, err = pertorch("mixscape", tmp_path / f"{name}.h5ad", *ASKED)
        assert (code, out) == (2, "")
        assert says in err.splitlines()[-1]
