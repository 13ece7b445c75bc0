"""Block sums of every implementation against float64 brute force."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from pertorch.ops.pairwise import (
    Kernel,
    _reduction,
    _subsets,
    block_cost,
    block_sums,
    row_sums,
    weighted_sums,
    within_sums,
)
from testing.pertorch import assert_close

from .conftest import EUCLIDEAN, INTERPRETED, RELATIVE_ERROR

# The interpreter takes a thousand times as long: smaller groups, fewer cases. Each still spans several tiles.
SIZES = (9, 1, 70, 1) if INTERPRETED else (40, 1, 130, 7, 1, 22)
WIDE, WIDER = (20, 70) if INTERPRETED else (50, 333)  # features: in one block of the kernel, and in several


def well_scaled(rng):
    spectrum = 10 / np.sqrt(1 + np.arange(WIDE))
    return rng.normal(size=(sum(SIZES), WIDE)) * spectrum + np.repeat(rng.normal(0, 1, (len(SIZES), WIDE)), SIZES, 0)


def common_offset(rng):
    return well_scaled(rng) + 1000


def six_orders_of_magnitude(rng):
    return rng.normal(size=(sum(SIZES), 24)) * np.logspace(-3, 3, 24)


def six_orders_between_groups(rng):
    return rng.normal(size=(sum(SIZES), 10)) * np.repeat(np.logspace(-3, 3, len(SIZES)), SIZES)[:, None]


def duplicated_cells(rng):
    return well_scaled(rng)[rng.integers(0, 20, sum(SIZES))]


def identical_cells(rng):
    return np.tile(rng.normal(1000, 1, 12), (sum(SIZES), 1))


def far_twins(rng):
    """Groups 0 and 2 lie on top of each other, 1,000 of their widths from the rest."""
    points = rng.normal(size=(sum(SIZES), 30))
    return points + 1000 * np.repeat([1, 0, 1] + [0] * (len(SIZES) - 3), SIZES)[:, None]


def far_and_tight(rng):
    """As far_twins, and so tight that float32 holds two or three digits of the distances."""
    points = far_twins(rng) - 1000
    return 1e-2 * points + 1000 * np.repeat([1, 0, 1] + [0] * (len(SIZES) - 3), SIZES)[:, None]


def tiny(rng):
    return 1e-12 * well_scaled(rng)


def huge(rng):
    return 1e12 * well_scaled(rng)


def one_dimension(rng):
    return rng.normal(size=(sum(SIZES), 1))


def many_dimensions(rng):
    return rng.normal(size=(sum(SIZES), WIDER))


DATA = [
    well_scaled,
    common_offset,
    six_orders_of_magnitude,
    six_orders_between_groups,
    duplicated_cells,
    identical_cells,
    far_twins,
    far_and_tight,
    tiny,
    huge,
    one_dimension,
    many_dimensions,
]
BAD_AND_GOOD = [well_scaled, common_offset, duplicated_cells, far_twins]
SHAPES = [(150,), (3,) * 30, (1,)] if INTERPRETED else [(1300,), (511, 1, 513, 512), (3,) * 300, (1,)]
MIDDLING = (100, 3, 70, 1) if INTERPRETED else (600, 3, 40, 300, 1, 9)


def offsets_of(sizes):
    return torch.tensor([0, *itertools.accumulate(sizes)])


def all_pairs(n_groups):
    """Every pair, each group with itself included."""
    return torch.triu_indices(n_groups, n_groups)


KAPPA = {
    "euclidean": lambda x, y, _: cdist(x, y),
    "sqeuclidean": lambda x, y, _: cdist(x, y, "sqeuclidean"),
    "rbf": lambda x, y, kernel: np.exp(-kernel.gamma * cdist(x, y, "sqeuclidean")),
    "poly": lambda x, y, kernel: (kernel.gamma * x @ y.T) ** kernel.degree,
}


def brute_force(points, offsets, left, right, kernel=EUCLIDEAN, weights=None):
    """Sums in float64 from the values as they are stored."""
    weights = torch.ones(len(points), 1) if weights is None else weights
    cuts = offsets[1:-1].tolist()
    x, w = (np.split(v.double().numpy(), cuts) for v in (points, weights))
    kappa = KAPPA[kernel.name]
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    return np.stack([np.einsum("ir,ij,jr->r", w[a], kappa(x[a], x[b], kernel), w[b]) for a, b in pairs])


def resampled(n, n_replicates, seed=3):
    """Weights as a bootstrap makes them: small integers, many zeros, and the second of them leaves all cells out."""
    weights = torch.from_numpy(np.random.default_rng(seed).poisson(1.0, (n, n_replicates))).float()
    weights[:, 1:2] = 0
    return weights


@pytest.mark.parametrize("kernel", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("data", DATA, ids=lambda f: f.__name__)
def test_error_of_a_group_pair_mean(block_sums_impl, precision, data, kernel):
    dtype, rel = precision
    points, offsets = torch.from_numpy(data(np.random.default_rng(0))).to(dtype), offsets_of(SIZES)
    pairs, kernel = all_pairs(len(SIZES)), Kernel(kernel)
    sums = block_sums_impl.block_sums(points, offsets, *pairs, kernel=kernel)
    assert sums.dtype == torch.float64
    assert_close(sums, brute_force(points, offsets, *pairs, kernel), rel=rel)


@pytest.mark.parametrize("n_replicates", [5] if INTERPRETED else [1, 5, 130])
@pytest.mark.parametrize("data", BAD_AND_GOOD, ids=lambda f: f.__name__)
def test_error_of_a_weighted_mean(block_sums_impl, precision, data, n_replicates):
    dtype, rel = precision
    points, offsets = torch.from_numpy(data(np.random.default_rng(0))).to(dtype), offsets_of(SIZES)
    pairs, weights = all_pairs(len(SIZES)), resampled(len(points), n_replicates)
    sums = block_sums_impl.block_sums(points, offsets, *pairs, weights=weights)
    assert_close(sums, brute_force(points, offsets, *pairs, weights=weights), rel=rel)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [1e-2] if INTERPRETED else [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("data", BAD_AND_GOOD[:3], ids=lambda f: f.__name__)
def test_error_of_a_mean_gaussian_kernel(block_sums_impl, precision, data, gamma, weighted):
    """Relative to the mean, or to 0.01 where all cells are so far apart that it is less than that."""
    dtype, rel = precision
    points, offsets = torch.from_numpy(data(np.random.default_rng(0))).to(dtype), offsets_of(SIZES)
    pairs, kernel = all_pairs(len(SIZES)), Kernel("rbf", gamma)
    weights = resampled(len(points), 3) if weighted else None
    sums = block_sums_impl.block_sums(points, offsets, *pairs, kernel=kernel, weights=weights)
    expected = brute_force(points, offsets, *pairs, kernel, weights)
    n_pairs = (offsets.diff()[pairs[0]] * offsets.diff()[pairs[1]]).numpy()[:, None]
    assert_close(sums, expected, rel=rel, scale=np.maximum(expected, 1e-2 * n_pairs))


def test_gaussian_kernel_of_twins_far_from_the_centre(block_sums_impl):
    """Two groups on top of each other, and a third ten times as far from the centre as they are."""
    sizes = (40, 40, 4) if INTERPRETED else (400, 400, 40)
    points = np.random.default_rng(0).normal(size=(sum(sizes), 30)) + 1000 * np.repeat([1, 1, 0], sizes)[:, None]
    points, offsets, pairs = torch.from_numpy(points).float(), offsets_of(sizes), all_pairs(2)
    kernel = Kernel("rbf", 0.01)
    sums = block_sums_impl.block_sums(points, offsets, *pairs, kernel=kernel)
    assert_close(sums, brute_force(points, offsets, *pairs, kernel), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_error_of_a_mean_polynomial(dtype, degree):
    points, offsets = torch.from_numpy(common_offset(np.random.default_rng(0))).to(dtype), offsets_of(SIZES)
    pairs, kernel = all_pairs(len(SIZES)), Kernel("poly", 0.01, degree)
    sums = block_sums(points, offsets, *pairs, kernel=kernel)
    assert_close(sums, brute_force(points, offsets, *pairs, kernel), rel=RELATIVE_ERROR[dtype])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_sums(dtype, device):
    points, offsets = torch.from_numpy(common_offset(np.random.default_rng(0))).to(dtype), offsets_of(SIZES)
    left, right = torch.tensor([2, 0, 5, 2, 1]), torch.tensor([0, 2, 2, 2, 1])
    found = row_sums(points.to(device), offsets, left, right, kernel=EUCLIDEAN)
    x = np.split(points.double().numpy(), offsets[1:-1].tolist())
    for sums, a, b in zip(found, left.tolist(), right.tolist(), strict=True):
        assert sums.dtype == torch.float64
        assert sums.device.type == device
        assert_close(sums, cdist(x[a], x[b]).sum(1), rel=RELATIVE_ERROR[dtype])


@pytest.mark.parametrize("sizes", SHAPES, ids=len)
def test_groups_larger_and_smaller_than_a_tile(block_sums_impl, precision, sizes):
    dtype, rel = precision
    rng = np.random.default_rng(0)
    points, offsets = torch.from_numpy(rng.normal(5, 1, (sum(sizes), 4))).to(dtype), offsets_of(sizes)
    left, right = all_pairs(len(sizes))
    some = torch.from_numpy(rng.permutation(len(left))[:40])
    left, right = left[some], right[some]
    sums = block_sums_impl.block_sums(points, offsets, left, right)
    assert_close(sums, brute_force(points, offsets, left, right), rel=rel)


FAR = {"small": ((30, 30), 4), "large": ((70, 70) if INTERPRETED else (300, 300), WIDE)}
if not INTERPRETED:
    FAR["one-and-many"] = (900, *[1] * 8), 200


@pytest.mark.parametrize("distance", [5, 20, 110])
@pytest.mark.parametrize(("sizes", "n_features"), FAR.values(), ids=FAR)
def test_clusters_far_from_the_centre(block_sums_impl, sizes, n_features, distance):
    """Groups on top of each other, in each dimension half so many of their widths from the mean of all cells.

    What rounding does to a cell and its norm is common to all pairs of that cell, and does not average out over them.
    """
    rng = np.random.default_rng(0)
    sizes = (*sizes, sum(sizes))
    centre = np.repeat([*[1] * (len(sizes) - 1), -1], sizes)[:, None] * (distance / 2)
    points = torch.from_numpy(rng.normal(size=(sum(sizes), n_features)) + centre).float()
    offsets, pairs = offsets_of(sizes), all_pairs(len(sizes) - 1)[:, 1:]
    sums = block_sums_impl.block_sums(points, offsets, *pairs)
    assert_close(sums, brute_force(points, offsets, *pairs), rel=1e-6)


def test_no_pairs(block_sums_impl):
    none = torch.zeros(0, dtype=torch.int64)
    assert block_sums_impl.block_sums(torch.ones(5, 2), offsets_of((2, 3)), none, none).shape == (0, 1)


def check_bits(impl, sizes, n_replicates=None):
    points, offsets = torch.randn(sum(sizes), 20, generator=torch.manual_seed(0)), offsets_of(sizes)
    left, right = all_pairs(len(sizes))
    weights = None if n_replicates is None else resampled(len(points), n_replicates)
    sums = impl.block_sums(points, offsets, left, right, weights=weights)
    assert torch.equal(sums, impl.block_sums(points, offsets, left, right, weights=weights))
    for some in (torch.tensor([7]), torch.tensor([9, 3, 0, 6]), torch.arange(len(left)).flip(0)):
        alone = impl.block_sums(points, offsets, left[some], right[some], weights=weights)
        assert torch.equal(alone, sums[some])


def test_same_bits_on_two_runs_and_whatever_else_is_asked_for(block_sums_impl):
    check_bits(block_sums_impl, MIDDLING)


def test_same_bits_of_weighted_sums(block_sums_impl):
    check_bits(block_sums_impl, MIDDLING, n_replicates=3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_with_any_number_of_threads(dtype, weighted):
    sizes = (1100, 3, 40, 700, 1, 9)
    points, offsets = torch.randn(sum(sizes), 30, generator=torch.manual_seed(0)).to(dtype), offsets_of(sizes)
    weights = resampled(len(points), 3) if weighted else None
    before, sums = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            sums.append(block_sums(points, offsets, *all_pairs(len(sizes)), kernel=EUCLIDEAN, weights=weights))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(sums[0], sums[1])
    assert torch.equal(sums[0], sums[2])


def test_the_points_are_left_alone(block_sums_impl, precision):
    points = torch.randn(30, 4, generator=torch.manual_seed(0)).to(precision[0])
    before = points.clone()
    block_sums_impl.block_sums(points, offsets_of((10, 20)), *all_pairs(2))
    assert torch.equal(points, before)


def test_kernels_are_named():
    with pytest.raises(ValueError, match="kernel 'manhattan' is not one of: euclidean, sqeuclidean, rbf, poly"):
        Kernel("manhattan")


def test_ticks_add_up_to_the_cost(block_sums_impl):
    sizes = MIDDLING
    points, offsets, ticks = torch.randn(sum(sizes), 4, generator=torch.manual_seed(0)), offsets_of(sizes), []
    pairs = all_pairs(len(sizes))
    block_sums_impl.block_sums(points, offsets, *pairs, tick=ticks.append)
    assert_close(sum(ticks), block_cost(offsets, *pairs).sum(), rel=1e-3)


@pytest.mark.skipif(INTERPRETED, reason="torch")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("n", [1, 2, 30, 600])
@pytest.mark.parametrize("kernel", [EUCLIDEAN, Kernel("sqeuclidean"), Kernel("rbf", 0.01), Kernel("poly", 0.01, 2)])
@pytest.mark.parametrize("data", [well_scaled, common_offset, duplicated_cells, far_twins, one_dimension])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_within_subsets(data, kernel, n, dtype, device, monkeypatch):
    rng = np.random.default_rng(0)
    points = torch.from_numpy(np.concatenate([data(rng) for _ in range(4)])).to(dtype)
    index = torch.from_numpy(np.stack([rng.permutation(len(points))[:n] for _ in range(9 if n < 600 else 3)]))
    each, offsets = torch.arange(len(index)), torch.arange(len(index) + 1) * n
    expected = brute_force(points[index.flatten()], offsets, each, each, kernel)
    monkeypatch.setattr(_subsets, "NUMBERS", {"cpu": 4000, "cuda": 4000} if n < 600 else _subsets.NUMBERS)

    def sums(some):
        subsets = index[some].to(device)
        whole, halves = within_sums(points.to(device), [subsets, subsets[:, : max(1, n // 2)]], kernel=kernel)
        assert halves.shape == whole.shape == (len(some),)
        return whole[:, None].cpu()

    together = sums(each)
    assert_close(together, expected, rel=RELATIVE_ERROR[dtype])
    if device == "cpu":
        assert torch.equal(torch.cat([sums(each[i : i + 1]) for i in each]), together)


@pytest.mark.skipif(INTERPRETED, reason="torch")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kernel", [EUCLIDEAN, Kernel("rbf", 0.01), Kernel("poly", 0.01, 2)])
@pytest.mark.parametrize("data", [common_offset, duplicated_cells, far_twins])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_sets(data, kernel, dtype, device, monkeypatch):
    monkeypatch.setitem(_reduction.TILE_ROWS, device, 80)
    monkeypatch.setitem(_reduction.HALF_ROWS, device, 16)
    rng = np.random.default_rng(0)
    points = torch.from_numpy(data(rng)).to(dtype)
    sets = [torch.from_numpy(rng.permutation(len(points))[:n]) for n in (1, 64, 150, 201)]
    weights = [resampled(len(rows), 9, seed=i) for i, rows in enumerate(sets)]
    each, offsets = torch.arange(len(sets)), offsets_of([len(rows) for rows in sets])
    expected = brute_force(points[torch.cat(sets)], offsets, each, each, kernel, torch.cat(weights))
    there = points.to(device), [rows.to(device) for rows in sets], [w.to(device) for w in weights]
    found = weighted_sums(*there, kernel=kernel)
    assert_close(torch.stack(found).cpu(), expected, rel=RELATIVE_ERROR[dtype])
    for i, rows in enumerate(found):
        assert torch.equal(weighted_sums(points.to(device), [there[1][i]], [there[2][i]], kernel=kernel)[0], rows)


@pytest.mark.skipif(not INTERPRETED, reason="runs in the process that test_interpreter.py starts")
def test_within_subsets_of_several_sizes():
    from pertorch.ops.pairwise import _triton

    rng = np.random.default_rng(0)
    points = torch.from_numpy(well_scaled(rng)).float()
    subsets = [torch.from_numpy(np.stack([rng.permutation(len(points))[:n] for _ in range(2)])) for n in (5, 66)]
    found = _triton.within_sums(points, subsets, kernel=EUCLIDEAN)
    for sums, truth in zip(found, _subsets.within_sums(points.double(), subsets, kernel=EUCLIDEAN), strict=True):
        assert_close(sums, truth, rel=1e-6)


@pytest.mark.parametrize("n_replicates", [3, 5, 20])
def test_what_a_pair_is_asked_for_with_does_not_show_in_its_bits(n_replicates):
    """BLAS adds up in an order that hangs on where its result begins in memory."""
    rng = np.random.default_rng(0)
    points, offsets = torch.from_numpy(rng.normal(size=(900, 80)).astype(np.float32)), torch.arange(0, 901, 100)
    weights = torch.from_numpy(rng.poisson(1.0, (900, n_replicates)).astype(np.float32))
    left, right = torch.triu_indices(9, 9)
    options = {"kernel": EUCLIDEAN, "weights": weights}
    every = block_sums(points, offsets, left, right, **options)
    for some in torch.arange(len(left)).tensor_split(7):
        assert torch.equal(block_sums(points, offsets, left[some], right[some], **options), every[some])
