"""Energy distance and mean pairwise distance against their definitions in float64."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from pertorch import Distance
from pertorch.data import Cells, Groups, Pairs
from pertorch.data._matrix import as_matrix
from pertorch.metrics import get_metric
from testing.pertorch import assert_close

CPU = torch.device("cpu")
CELL_WISE = ["euclidean", "sqeuclidean", "cosine"]
SIZES = (30, 1, 55, 2, 1)


def blocks(offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 1, (len(SIZES), 7))
    return [offset + rng.normal(mean, 1, (size, 7)) for mean, size in zip(means, SIZES, strict=True)]


def cells_of(groups, dtype=np.float64):
    codes = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    values = np.concatenate(groups).astype(dtype)
    return Cells(as_matrix(values, "X"), Groups(tuple(range(len(groups))), codes))


def edistance(x, y, estimator, metric):
    def within(z):
        n = len(z)
        pairs = n * n if estimator == "v" else max(1, n * (n - 1))
        return cdist(z, z, metric).sum() / pairs

    return 2 * cdist(x, y, metric).mean() - within(x) - within(y)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("metric", CELL_WISE)
@pytest.mark.parametrize("estimator", ["u", "v"])
def test_edistance(estimator, metric, offset):
    groups, pairs = blocks(offset), Pairs.all(len(SIZES), symmetric=True)
    ours = get_metric("edistance", estimator=estimator, cell_wise_metric=metric)
    found = ours.evaluate(cells_of(groups), pairs, [CPU])
    expected = [edistance(x, y, estimator, metric) for x, y in itertools.combinations(groups, 2)]
    scale = [cdist(x, y, metric).mean() for x, y in itertools.combinations(groups, 2)]
    # the unit vectors of cells that share an offset nearly coincide: their distance has lost its digits in the input
    rel = 1e-12 if metric != "cosine" or not offset else 1e-6
    assert found.dtype == torch.float64
    assert_close(found[:, 0], expected, rel=rel, scale=scale)


@pytest.mark.parametrize("metric", CELL_WISE)
def test_mean_pairwise(metric):
    groups = blocks()
    cells, pairs = cells_of(groups), Pairs.all(len(SIZES), symmetric=True)
    found = get_metric("mean_pairwise", cell_wise_metric=metric).evaluate(cells, pairs, [CPU])
    expected = [cdist(x, y, metric).mean() for x, y in itertools.combinations(groups, 2)]
    assert_close(found[:, 0], expected, rel=1e-12)


def test_the_estimators_differ_by_the_spread_of_the_groups():
    x, y = blocks()[0], blocks()[2]
    u, v = Distance("edistance")(x, y), Distance("edistance", estimator="v")(x, y)
    spread = [cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
    assert_close(u, v - spread[0] / len(x) - spread[1] / len(y), rel=1e-12)


@pytest.mark.parametrize("estimator", ["u", "v"])
def test_two_groups_of_one_cell(estimator):
    x, y = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    assert Distance("edistance", estimator=estimator)(x, y) == 10.0


@pytest.mark.parametrize("estimator", ["u", "v"])
def test_one_cell_against_many(estimator):
    one, many = blocks()[1], blocks()[0]
    found = Distance("edistance", estimator=estimator)(one, many)
    assert_close(found, edistance(one, many, estimator, "euclidean"), rel=1e-12)


def test_the_unbiased_estimate_is_zero_on_average_between_groups_that_are_alike():
    cells = cells_of(list(np.random.default_rng(0).normal(size=(600, 20, 3))))
    apart = Pairs(torch.arange(0, 600, 2), torch.arange(1, 600, 2))
    u, v = (get_metric("edistance", estimator=e).evaluate(cells, apart, [CPU]) for e in "uv")
    assert abs(u.mean()) < 4 * u.std() / np.sqrt(300)
    assert (u < 0).any()
    assert (v > 0).all()
    assert v.mean() > 10 * v.std() / np.sqrt(300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["edistance", "mean_pairwise", "mse"])
def test_same_bits_on_several_devices(name, dtype):
    cells, pairs = cells_of(blocks() * 3, dtype), Pairs.all(3 * len(SIZES), symmetric=True)
    one = get_metric(name).evaluate(cells, pairs, [CPU])
    for n_devices in (2, 3):
        assert torch.equal(get_metric(name).evaluate(cells, pairs, [CPU] * n_devices), one)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("name", ["edistance", "mean_pairwise"])
def test_on_a_gpu(name, offset, dtype):
    gpu, pairs = torch.device("cuda", 0), Pairs.all(len(SIZES), symmetric=True)
    cells = cells_of(blocks(offset), dtype)
    found, expected = (get_metric(name).evaluate(cells, pairs, [device]) for device in (gpu, CPU))
    assert_close(found, expected, rel=1e-6 if dtype == np.float32 else 1e-12, scale=float(expected.max()))
    assert torch.equal(get_metric(name).evaluate(cells, pairs, [gpu]), found)


def test_a_cell_without_a_direction():
    x, y = np.ones((3, 2)), np.array([[0.0, 0.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="cell_wise_metric='cosine': a cell with all features 0 has no direction"):
        Distance("edistance", cell_wise_metric="cosine")(x, y)
