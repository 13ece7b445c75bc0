"""Bootstrap of every metric: each replicate is the metric of cells drawn as its weights say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pertorch
from pertorch.data import Cells, Groups, Pairs, as_matrix, open_matrix
from pertorch.metrics import _base, get_metric, list_metrics
from pertorch.stats import Bootstrap, Columns, Given
from testing.pertorch import assert_close

CPU = [torch.device("cpu")]
METRICS = [m.name for m in list_metrics() if m.name != "wasserstein"]


@pytest.mark.parametrize("storage", ["", "_csr"])
@pytest.mark.parametrize("name", METRICS)
def test_replicates_are_resamples(screen, name, storage):
    layer = ("counts" if name == "nb_ll" else "log") + storage
    groups = Groups.from_obs(screen, "target")
    cells = Cells(open_matrix(screen, layer_key=layer), groups)
    # Twelve cells of group 1 drawn again are too few for nine genes.
    targets = [2, 3] if name in ("mahalanobis", "nb_ll") else [1, 2, 3]
    pairs = Pairs.onesided(targets, [0])
    metric = get_metric(name)
    if metric.symmetric:
        pairs = Pairs(pairs.right, pairs.left)
    weights = Bootstrap(groups.offsets, torch.from_numpy(groups.keys), 5, seed=3)
    found = metric.evaluate(cells, pairs, CPU, weights)
    for r, column in enumerate(weights.columns(0, 5, CPU[0]).T):
        drawn = np.repeat(np.arange(107), column.long().numpy())  # the fixture is in group order
        again = Cells(as_matrix(screen.layers[layer][drawn], layer), Groups(groups.names, groups.codes[drawn]))
        assert_close(found[:, r], metric.evaluate(again, pairs, CPU)[:, 0], rel=1e-7)


@pytest.mark.parametrize("name", ["t_test", "spearman_distance", "mean_var_distribution", "ks_test", "euclidean"])
def test_batches_do_not_show(screen, name, monkeypatch):
    distance = pertorch.Distance(name, layer_key="log")
    whole = distance.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=7)
    monkeypatch.setattr(_base, "REPLICATES", 2)
    monkeypatch.setattr("pertorch.metrics._moments.REPLICATES", 2)
    monkeypatch.setattr(_base, "CHUNK_BYTES", {"cpu": 1})
    columns, widths = Bootstrap.columns, []
    monkeypatch.setattr(Bootstrap, "columns", lambda self, a, b, d: widths.append(b - a) or columns(self, a, b, d))
    split = distance.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=7)
    assert max(widths) == 2
    for a, b in zip(whole, split, strict=True):
        assert_close(a, b, rel=1e-12)


@pytest.mark.parametrize("name", ["t_test", "ks_test"])
@pytest.mark.parametrize("shift", [0.0, 2.0], ids=["null", "far"])
def test_mean_and_variance_by_brute_force(name, shift):
    random = np.random.default_rng(0)
    x, y = random.normal(0, 1, size=(30, 4)), random.normal(shift, 1, size=(40, 4))
    distance = pertorch.Distance(name)
    found = distance.bootstrap(x, y, n_bootstrap=500)
    brute = [distance(x[random.integers(30, size=30)], y[random.integers(40, size=40)]) for _ in range(500)]
    sd = np.std(brute)
    assert abs(found.mean - np.mean(brute)) < 4 * sd * (2 / 500) ** 0.5
    assert_close(found.variance, sd**2, rel=4 * (4 / 500) ** 0.5)


def test_a_cell_drawn_again_and_again_has_no_variance():
    """Three cells: in one replicate of nine the same cell three times, where rounding must not pass for variance."""
    x = np.random.default_rng(0).normal(5, 1, size=(3, 2))
    cells = Cells(open_matrix(_adata(x)), Groups(("X", "Y"), np.repeat([0, 1], 3)))
    from pertorch.metrics._moments import group_moments

    weights = Given(torch.tensor([[0, 3, 0, 1, 1, 1]]).float().T)
    assert torch.equal(
        group_moments(cells, CPU[0], Columns(weights, cells.offsets, 0, 1)).variance[0],
        torch.zeros(1, 2, dtype=torch.float64),
    )


def test_genes_lost_in_a_replicate():
    random = np.random.default_rng(0)
    x = random.negative_binomial(1, 0.3, size=(8, 6)).astype(float)
    with pytest.raises(ValueError, match=r"could not be fit .* \(in a replicate\)"):
        pertorch.Distance("nb_ll").bootstrap(x, x, n_bootstrap=200)


def test_singular_replicate_is_named():
    x = np.random.default_rng(0).normal(size=(6, 4))
    with pytest.raises(ValueError, match="singular in a replicate"):
        pertorch.Distance("mahalanobis").bootstrap(x, x + 1, n_bootstrap=50)


@pytest.mark.parametrize("storage", ["", "_csr"])
def test_other_aggregates_resample(screen, storage):
    distance = pertorch.Distance("euclidean", layer_key="log" + storage, agg_fct=np.median)
    mean, variance = distance.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=20)
    assert mean["ctrl"] == variance["ctrl"] == 0
    assert (variance[["a", "b", "c"]] > 0).all()
    as_mean = pertorch.Distance("euclidean", layer_key="log" + storage, agg_fct=lambda v, axis: v.mean(axis))
    usual = pertorch.Distance("euclidean", layer_key="log" + storage)
    for a, b in zip(
        *(d.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=20) for d in (as_mean, usual)),
        strict=True,
    ):
        assert_close(a, b, rel=1e-9)


def _adata(x):
    from anndata import AnnData

    adata = AnnData(np.zeros((6, 1), np.float32))
    adata.obsm["X_pca"] = np.concatenate([x, x])
    return adata
