"""`pertorch distance` against the library that it calls, on what it printed and wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import pertorch as package
from pertorch.cli._embedding import embed
from pertorch.ds import Screen

ASK = ["--groupby", "gene_target", "--control", "NT"]


@pytest.fixture(scope="module")
def embedded(screen: Screen) -> AnnData:
    adata = screen.genes.copy()
    adata.obsm["X_pca"] = embed(adata)
    adata.obs["code"] = adata.obs["gene_target"].cat.codes.astype(int)
    adata.layers["logged"] = adata.X.log1p()
    return adata


@pytest.fixture(scope="module")
def embedded_file(embedded: AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedded") / "embedded.h5ad"
    embedded.write_h5ad(path)
    return path


def expected(adata: AnnData, **options: object) -> pd.Series:
    found = package.Distance("edistance", **options).onesided_distances(adata, "gene_target", "NT")
    return found.drop("NT").sort_values(ascending=False)


NUMBERS = {"cells": int, "edistance": float, "r2_distance": float, "mean": float, "sd": float}


def read(path: Path) -> pd.DataFrame:
    """A written table, its numbers to the last bit: pandas' own reading of them is not exact in every version."""
    table = pd.read_csv(path, dtype=str)
    return table.assign(**{name: table[name].map(number) for name, number in NUMBERS.items() if name in table})


def written(path: Path) -> pd.Series:
    return read(path).set_index("gene_target")["edistance"]


def test_from_raw_counts(pertorch: Callable, screen_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    ran = pertorch("distance", screen_file, *ASK, "--out", tmp_path / "t.csv")
    truth = expected(embedded)
    assert ran.code == 0
    pd.testing.assert_series_equal(written(tmp_path / "t.csv"), truth, check_names=False, check_index_type=False)
    first, *rows = ran.out.splitlines()
    assert first.split() == ["gene_target", "cells", "edistance"]
    assert [row.split()[0] for row in rows] == list(truth.index)
    assert [int(row.split()[1]) for row in rows] == [int((embedded.obs["gene_target"] == t).sum()) for t in truth.index]
    np.testing.assert_allclose([float(row.split()[2]) for row in rows], truth, atol=1e-4)
    assert ran.err.splitlines() == [
        "X: 400 cells × 120 genes, raw counts",
        "normalised to 10,000 counts a cell (total: summed), log1p",
        "50 principal components of 120 genes",
        "edistance on X_pca: 5 distances",
    ]


def test_the_embedding_in_the_file(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    ran = pertorch("distance", embedded_file, *ASK, "--estimator", "v", "--out", tmp_path / "t.csv")
    pd.testing.assert_series_equal(
        written(tmp_path / "t.csv"), expected(embedded, estimator="v"), check_names=False, check_index_type=False
    )
    assert ran.err == "edistance on X_pca: 5 distances\n"


def test_a_layer(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    pertorch("distance", embedded_file, *ASK, "--layer", "logged", "--out", tmp_path / "t.csv")
    pd.testing.assert_series_equal(
        written(tmp_path / "t.csv"), expected(embedded, layer_key="logged"), check_names=False, check_index_type=False
    )


def test_logged_already(pertorch: Callable, embedded: AnnData, tmp_path: Path) -> None:
    logged = AnnData(embedded.layers["logged"], obs=embedded.obs, var=embedded.var)
    logged.write_h5ad(tmp_path / "logged.h5ad")
    ran = pertorch("distance", tmp_path / "logged.h5ad", *ASK)
    assert "log-normalised already, taken as it is" in ran.err
    assert "10,000" not in ran.err


def test_annotated(pertorch: Callable, screen_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    before = screen_file.read_bytes()
    assert pertorch("distance", screen_file, *ASK, "--bootstrap", "5", "--out", tmp_path / "a.h5ad").code == 0
    assert screen_file.read_bytes() == before
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(found.obsm["X_pca"], embedded.obsm["X_pca"])
    assert (found.X != embedded.X).nnz == 0
    table = found.uns["pertorch_distance"]["table"]
    assert list(table.columns) == ["gene_target", "reference", "cells", "edistance", "mean", "sd"]
    np.testing.assert_array_equal(table["edistance"], expected(embedded))
    assert found.uns["pertorch_distance"]["arguments"]["control"] == "NT"
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]
    # what was written says the same when asked again
    again = pertorch("distance", tmp_path / "a.h5ad", *ASK, "--out", tmp_path / "t.csv")
    assert again.err == "edistance on X_pca: 5 distances\n"
    np.testing.assert_array_equal(written(tmp_path / "t.csv"), table["edistance"])


def test_in_place(pertorch: Callable, screen_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "screen.h5ad"
    path.write_bytes(screen_file.read_bytes())
    assert pertorch("distance", path, *ASK, "--out", path).code == 0
    assert "X_pca" in anndata.read_h5ad(path).obsm


def test_an_embedding_beside_the_one_there(pertorch: Callable, embedded_file: Path, tmp_path: Path) -> None:
    assert pertorch("distance", embedded_file, *ASK, "--n-pcs", "7", "--out", tmp_path / "a.h5ad").code == 0
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert found.obsm["X_pca_pertorch"].shape == (400, 7)
    assert found.obsm["X_pca"].shape == (400, 50)


def test_bootstrap(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    ran = pertorch("distance", embedded_file, *ASK, "--bootstrap", "7", "--seed", "3", "--out", tmp_path / "t.csv")
    distance = package.Distance("edistance")
    contrasts = distance.create_contrasts(embedded, "gene_target", "NT")
    mean, variance = (
        frame.set_index("gene_target")["edistance"]
        for frame in distance.contrast_distances(embedded, contrasts, bootstrap=True, n_bootstrap=7, random_state=3)
    )
    table = read(tmp_path / "t.csv").set_index("gene_target")
    np.testing.assert_array_equal(table["edistance"], expected(embedded))
    np.testing.assert_array_equal(table["mean"], mean[table.index])
    np.testing.assert_array_equal(table["sd"], np.sqrt(variance[table.index]))
    assert ran.out.splitlines()[0].split("  ")[-1].strip() == "± sd"


def test_strata(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    assert pertorch("distance", embedded_file, *ASK, "--split-by", "batch", "--out", tmp_path / "t.csv").code == 0
    table = read(tmp_path / "t.csv")
    assert list(table["batch"]) == ["batch1"] * 5 + ["batch2"] * 5
    for batch, part in table.groupby("batch"):
        cells = embedded[embedded.obs["batch"] == batch]
        np.testing.assert_allclose(part["edistance"], expected(cells), rtol=1e-6)
        assert list(part["cells"]) == [(cells.obs["gene_target"] == t).sum() for t in part["gene_target"]]


@pytest.mark.parametrize("metric", ["edistance", "r2_distance"])
def test_all_pairs(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path, metric: str) -> None:
    ask = ["--groupby", "gene_target", "--pairwise", "--metric", metric]
    assert pertorch("distance", embedded_file, *ask, "--out", tmp_path / "t.csv").code == 0
    square = package.Distance(metric).pairwise(embedded, "gene_target")
    table = read(tmp_path / "t.csv")
    assert len(table) == (15 if metric == "edistance" else 30)
    truth = [square.loc[x, y] for x, y in zip(table["gene_target"], table["gene_target (other)"], strict=True)]
    np.testing.assert_array_equal(table[metric], truth)
    assert table[metric].is_monotonic_decreasing


def test_labels_that_are_numbers(pertorch: Callable, embedded_file: Path, embedded: AnnData, tmp_path: Path) -> None:
    pertorch("distance", embedded_file, "--groupby", "code", "--control", "5", "--out", tmp_path / "t.csv")
    np.testing.assert_allclose(read(tmp_path / "t.csv")["edistance"], expected(embedded), rtol=1e-12)


def test_quiet(pertorch: Callable, screen_file: Path) -> None:
    ran = pertorch("distance", screen_file, *ASK, "--quiet", "--top", "2")
    assert ran.err == ""
    assert ran.out.splitlines()[-1] == "… 3 more rows"


def test_settings_are_put_back(pertorch: Callable, screen_file: Path) -> None:
    package.settings.device = "auto"
    pertorch("distance", screen_file, *ASK, "--device", "cpu")
    assert package.settings.device == "auto"
