"""DistanceTest: against relabelling by hand, its level, its power, ties, tables."""

from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest

from pertorch import Distance, DistanceTest
from pertorch.data import Cells, Groups, Pairs, open_matrix
from pertorch.metrics import _null, get_metric, kernel_nulls
from pertorch.stats import Permutations
from testing.pertorch import assert_close, unchanged

CPU = torch.device("cpu")
METRICS = [
    ("edistance", {}),
    ("edistance", {"estimator": "v", "cell_wise_metric": "cosine"}),
    ("mean_pairwise", {}),
    ("mmd", {"kernel": "rbf", "gamma": "median"}),
    ("mmd", {"kernel": "linear"}),
    ("euclidean", {}),
    ("r2_distance", {}),
]


def screen_of(sizes, shifts=(), n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    values = rng.normal(size=(len(labels), n_features)).astype(np.float32)
    for group, shift in enumerate(shifts):
        values[labels == f"g{group}"] += shift
    adata = ad.AnnData(obs=pd.DataFrame({"gene": labels}, index=np.arange(len(labels)).astype(str)))
    adata.obsm["X_pca"] = values
    return adata


def dealt(adata, group, reference, n_perms, seed=0):
    """The cells that each permutation deals to the group."""
    groups = Groups.from_obs(adata, "gene")
    a, b = groups.index(group), groups.index(reference)
    sizes, keys = groups.sizes.tolist(), groups.keys.tolist()
    permutations = Permutations(sizes[a], sizes[b], keys[a] ^ (keys[b] >> 1), n_perms, seed)
    columns = permutations.columns(0, n_perms, torch.device("cpu"))[: sizes[a] + sizes[b]]
    labels = adata.obs["gene"].to_numpy()
    cells = np.concatenate([np.flatnonzero(labels == group), np.flatnonzero(labels == reference)])
    return [(cells[column > 0], cells[column == 0]) for column in columns.T.numpy()]


@pytest.mark.parametrize(("metric", "options"), METRICS)
@pytest.mark.parametrize("sizes", [(20, 30, 25), (90, 12, 25)])
def test_p_is_that_of_relabelling_by_hand(metric, options, sizes):
    adata = screen_of(sizes, shifts=(0.3, 0.0))
    table = DistanceTest(metric, n_perms=60, **options)(adata, "gene", "g1")
    if options.get("gamma") == "median":  # of all of the call's cells
        sample = torch.from_numpy(adata.obsm["X_pca"]).double()
        order = Groups.from_obs(adata, "gene").order(torch.device("cpu"))
        options = {**options, "gamma": 1 / float(torch.pdist(sample[order]).square().median())}
    distance = Distance(metric, **options)
    values = adata.obsm["X_pca"]
    for group in ("g0", "g2"):
        observed = distance(*(values[adata.obs["gene"] == name] for name in (group, "g1")))
        null = np.array([distance(values[x], values[y]) for x, y in dealt(adata, group, "g1", 60)])
        assert_close(table.loc[group, "distance"], observed, rel=1e-5, scale=np.abs(null).max())
        assert table.loc[group, "pvalue"] == (1 + (null >= observed - 1e-6 * np.abs(null).max()).sum()) / 61


def test_both_ways_to_sum_within_subsets_agree(monkeypatch):
    """Subsets are gathered on a GPU, and of few cells; else all cells are weighted."""
    adata = screen_of((30, 100, 40), shifts=(0.2, 0, 0.1))
    test = DistanceTest(n_perms=200)
    weighted = test(adata, "gene", "g1")
    monkeypatch.setattr(_null._Deal, "_subsets", lambda *_: True)
    pd.testing.assert_frame_equal(test(adata, "gene", "g1"), weighted)


@pytest.mark.parametrize("sizes", [(30, 100, 40), (4, 100, 5)])
def test_a_null_does_not_depend_on_the_other_groups(sizes, monkeypatch):
    """To the bit, whatever is computed beside it: so work may be split over devices anywhere."""
    cells = Cells(
        open_matrix(screen_of(sizes, shifts=(0.2, 30, 0.1)), None, None), Groups.from_obs(screen_of(sizes), "gene")
    )
    pairs = Pairs.onesided([0, 2], [1])
    permutations = [Permutations(sizes[g], sizes[1], g, 300, 0) for g in (0, 2)]
    metric = get_metric("edistance")
    both = kernel_nulls(metric, cells, pairs, permutations, [CPU], None)
    for p in range(2):
        one = Pairs(pairs.left[p : p + 1], pairs.right[p : p + 1])
        alone = kernel_nulls(metric, cells, one, permutations[p : p + 1], [CPU], None)
        assert torch.equal(alone[0], both[p])
    assert torch.equal(kernel_nulls(metric, cells, pairs, permutations, [CPU] * 3, None), both)
    monkeypatch.setitem(_null.CHUNK, "cpu", 5000)
    in_pieces = kernel_nulls(metric, cells, pairs, permutations, [CPU], None)
    assert_close(in_pieces, both, rel=1e-5, scale=float(both.abs().max()))


def test_level():
    """p is uniform where labels mean nothing: Kolmogorov-Smirnov over 500 simulated screens of two groups."""
    adata = screen_of((12, 15) * 500)
    screens = pd.DataFrame({"gene": [f"g{2 * i}" for i in range(500)]})
    screens["reference"] = [f"g{2 * i + 1}" for i in range(500)]
    pvalues = DistanceTest(n_perms=99).test_contrasts(adata, screens)["pvalue"].to_numpy()
    jitter = np.random.default_rng(0).uniform(size=500) / 100  # p takes 100 values
    assert kstest(pvalues - jitter, "uniform").pvalue > 0.01


def test_power():
    adata = screen_of((60, 60, 60, 60), shifts=(0, 0.6, 0, 0.6), seed=1)
    table = DistanceTest(n_perms=999)(adata, "gene", "g0")
    assert table.loc[["g1", "g3"], "pvalue"].tolist() == [0.001, 0.001]
    assert table.loc["g2", "pvalue"] > 0.01
    assert table["significant_adj"].tolist() == [False, True, False, True]


def test_ties_count():
    """Two cells against two, on a line: a third of all deals is the data's own or its mirror image."""
    adata = screen_of((2, 2))
    adata.obsm["X_pca"] = np.array([[0.0], [0.1], [5.0], [5.1]], dtype=np.float32)
    pvalue = DistanceTest(n_perms=3000)(adata, "gene", "g1").loc["g0", "pvalue"]
    assert len(list(combinations(range(4), 2))) == 6
    assert pvalue == pytest.approx(1 / 3, abs=0.03)


def test_table():
    adata = screen_of((20, 30, 25), shifts=(1, 0, 0))
    table = DistanceTest(n_perms=50, correction="bonferroni")(adata, "gene", "g1", groups=["g2", "g1", "g0"])
    assert list(table.index) == ["g2", "g1", "g0"]
    assert table.index.name == "gene"
    assert list(table.columns) == ["distance", "pvalue", "significant", "pvalue_adj", "significant_adj"]
    assert table.loc["g1"].tolist() == [0, 1, False, 1, False]
    # the reference is no test of the family
    assert_close(table["pvalue_adj"], np.minimum(1, [2 * table.loc["g2", "pvalue"], 1, 2 / 51]), rel=1e-12)


def test_seed_and_subset():
    adata = screen_of((20, 30, 25), shifts=(0.2, 0, 0))
    table = DistanceTest(n_perms=100, random_state=1)(adata, "gene", "g1")
    again = DistanceTest(n_perms=100, random_state=1)(adata, "gene", "g1", groups=["g2"])
    assert again.loc["g2", "pvalue"] == table.loc["g2", "pvalue"]
    other = DistanceTest(n_perms=100, random_state=2)(adata, "gene", "g1")
    assert (other["pvalue"] != table["pvalue"]).any()


def test_contrasts():
    adata = screen_of((40, 50, 45), shifts=(0.8, 0, 0))
    adata.obs["batch"] = np.tile(["a", "b"], len(adata) // 2 + 1)[: len(adata)]
    contrasts = Distance.create_contrasts(adata, "gene", "g1", split_by="batch")
    table = DistanceTest(n_perms=99).test_contrasts(adata, contrasts)
    distances = Distance().contrast_distances(adata, contrasts)
    assert_close(table["distance"], distances["edistance"], rel=1e-12)
    assert len(table) == 4
    assert table.loc[table["gene"] == "g0", "pvalue"].max() <= 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_perms": 0}, "n_perms=0 must be at least 1"),
        ({"padj_threshold": 1.5}, "padj_threshold=1.5 must lie between"),
        ({"correction": "none such"}, "correction='none such'.*holm-sidak"),
        ({"metric": "edist"}, "metric='edist'.*edistance"),
        ({"layer_key": "X", "obsm_key": "X_pca"}, "exclude each other"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DistanceTest(**options)


def test_arguments_of_pertpy():
    test = DistanceTest(cell_wise_metric=None, alpha=0.2)
    assert test.padj_threshold == 0.2
    assert "cell_wise_metric='euclidean'" in repr(test._metric)
    assert "cosine" in repr(DistanceTest(cell_wise_metric="cosine")._metric)


def test_bad_reference():
    adata = screen_of((5, 6))
    with unchanged(adata), pytest.raises(ValueError, match=r"'g11'.*did you mean"):
        DistanceTest()(adata, "gene", "g11")
