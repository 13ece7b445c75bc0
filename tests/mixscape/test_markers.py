from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
import torch

import pertorch
from pertorch.data import DeviceCsr, as_matrix
from pertorch.stats import benjamini_hochberg
from pertorch.tl import _column_sums, _row_sums
from pertorch.tl._screen import Screen

from .screens import simulate

GOLDEN = Path(__file__).parent / "golden"
CPU = torch.device("cpu")
METHODS = ("wilcoxon", "t-test", "t-test_overestim_var")


def brute(x: np.ndarray, y: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Score and p of each gene by scipy, in float64."""
    n, m = len(x), len(y)
    if method == "wilcoxon":
        ranks = scipy.stats.rankdata(np.concatenate([x, y]), axis=0)[:n].sum(0)
        z = (ranks - n * (n + m + 1) / 2) / np.sqrt(n * m * (n + m + 1) / 12)
        return z, 2 * scipy.stats.norm.sf(np.abs(z))
    size = n if method == "t-test_overestim_var" else m
    with np.errstate(divide="ignore", invalid="ignore"):
        t, p = scipy.stats.ttest_ind_from_stats(
            x.mean(0), x.std(0, ddof=1), n, y.mean(0), y.std(0, ddof=1), size, equal_var=False
        )
    return np.nan_to_num(t), np.where(np.isnan(p), 1, p)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "float64"])
def test_against_scipy(method, kind):
    adata = simulate("medium")
    values = adata.X.toarray().astype(np.float64)
    adata.X = {"csr": adata.X, "csc": adata.X.tocsc(), "dense": adata.X.toarray(), "float64": values}[kind]
    table = pertorch.perturbation_markers(adata, "target", "NT", test_method=method)
    labels = adata.obs["target"].to_numpy()
    assert table["target"].unique().tolist() == ["g1", "g2", "g3", "g4"]
    y = values[labels == "NT"]
    for target, rows in table.groupby("target"):
        x = values[labels == target]
        scores, p = brute(x, y, method)
        lfc = np.log2((np.expm1(x.mean(0)) + 1e-9) / (np.expm1(y.mean(0)) + 1e-9))
        assert rows["gene"].tolist() == adata.var_names.tolist()
        np.testing.assert_allclose(rows["score"], scores, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rows["pval"], p, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(rows["logfoldchange"], lfc, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rows["pval_adj"], scipy.stats.false_discovery_control(p), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_scanpys_own_numbers(method):
    """``scanpy.tl.rank_genes_groups`` 1.12.4 on this screen; it stores scores and fold changes as float32."""
    golden = pd.read_csv(GOLDEN / f"scanpy_{method}.csv").set_index(["group", "names"])
    found = pertorch.perturbation_markers(simulate("medium"), "target", "NT", test_method=method)
    found = found.set_index(["target", "gene"]).loc[golden.index]
    for ours, theirs in (("score", "scores"), ("logfoldchange", "logfoldchanges"), ("pval_adj", "pvals_adj")):
        np.testing.assert_allclose(found[ours], golden[theirs], rtol=1e-6, atol=1e-6)


def test_targets_are_tested_alike_in_runs_and_at_once(monkeypatch):
    adata = simulate("medium")
    monkeypatch.setattr(_column_sums, "_runs", lambda split: [slice(0, len(split.targets))])
    at_once = pertorch.perturbation_markers(adata, "target", "NT")
    monkeypatch.setattr(_column_sums, "_runs", lambda split: [slice(h, h + 1) for h in range(len(split.targets))])
    pd.testing.assert_frame_equal(pertorch.perturbation_markers(adata, "target", "NT"), at_once)


def test_splits_are_tested_by_themselves():
    adata = simulate("medium")
    table = pertorch.perturbation_markers(adata, "target", "NT", split_by="replicate")
    for name in ("a", "b"):
        part = adata[adata.obs["replicate"] == name].copy()
        alone = pertorch.perturbation_markers(part, "target", "NT")
        mine = table[table["split"] == name].drop(columns="split").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone)


def test_choice_of_rows():
    adata = simulate("medium")
    whole = pertorch.perturbation_markers(adata, "target", "NT")
    some = pertorch.perturbation_markers(
        adata, "target", "NT", targets=["g3", "g1"], logfc_threshold=0.25, pval_cutoff=0.05
    )
    expected = whole[whole["target"].isin(["g1", "g3"]) & (whole["logfoldchange"].abs() >= 0.25)]
    expected = expected[expected["pval_adj"] < 0.05].reset_index(drop=True)
    assert 0 < len(some) < 600
    pd.testing.assert_frame_equal(some, expected)


def test_base_of_the_logarithm():
    adata = simulate("medium")
    natural = pertorch.perturbation_markers(adata, "target", "NT")["logfoldchange"]
    adata.X = adata.X.astype(np.float64) / np.log(2)
    adata.uns["log1p"] = {"base": 2}
    np.testing.assert_allclose(
        pertorch.perturbation_markers(adata, "target", "NT")["logfoldchange"], natural, atol=1e-6
    )


def test_benjamini_hochberg_is_scipys():
    p = np.random.default_rng(0).random((3, 50)) ** 3
    expected = np.stack([scipy.stats.false_discovery_control(row) for row in p])
    np.testing.assert_allclose(benjamini_hochberg(torch.from_numpy(p)), expected, rtol=1e-12)


@pytest.mark.parametrize("ranks", [True, False])
@pytest.mark.parametrize("kind", ["sparse", "dense", "float64"])
@pytest.mark.parametrize("resident", [True, False])
def test_by_rows_as_by_columns(ranks, kind, resident, monkeypatch):
    """The way of a GPU, here on the CPU, in slabs that cut groups."""
    monkeypatch.setattr(_row_sums, "SLAB_BYTES", 2**17)
    monkeypatch.setattr(_row_sums, "PIECE_ROWS", 16)
    adata = simulate("medium")
    values = adata.X.toarray() - 0.5 * (adata.X.toarray() > 3)
    matrix = as_matrix({"sparse": sp.csr_matrix(values), "dense": values, "float64": values.astype(float)}[kind], "X")
    if resident and kind == "sparse":
        monkeypatch.setattr(type(matrix), "resident", lambda self, device: DeviceCsr.of(adata.X, self.dtype, device))
        matrix = as_matrix(adata.X, "X")
    split = Screen.from_obs(adata, "target", "NT").splits[0]
    found, expected = (
        way(matrix, split, CPU, ranks=ranks) for way in (_row_sums.sums_by_rows, _column_sums.sums_by_columns)
    )
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    np.testing.assert_allclose(found.powers[1:], expected.powers[1:], rtol=0 if ranks else 1e-12)
