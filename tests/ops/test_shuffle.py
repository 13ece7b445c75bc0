"""Random permutations as functions: bijections, every subset as likely as another, the same bits on every device."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pertorch.ops.shuffle import _choose, _torch, choose, chosen, digits, n_keys, permute

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SIZES = [1, 2, 3, 5, 9, 100, 257, 10_180, 1_000_003]


def keys_of(n_permutations, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n_permutations, n_keys(n))
    return torch.randint(-(2**31), 2**31 - 1, shape, dtype=torch.int32, generator=generator)


def positions(k):
    return torch.arange(k, dtype=torch.int32)


@pytest.mark.parametrize("n", SIZES)
def test_distinct_values_below_n(n):
    values = permute(positions(min(n, 500)), keys_of(5, n), n)
    assert values.min() >= 0
    assert values.max() < n
    assert all(len(row.unique()) == len(row) for row in values)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_every_subset_is_as_likely(n, k):
    subsets = permute(positions(k), keys_of(100_000, n), n).sort(1).values.numpy()
    _, counts = np.unique(subsets, axis=0, return_counts=True)
    assert len(counts) == math.comb(n, k)
    assert chisquare(counts).pvalue > 1e-4


def test_every_order_of_four_is_as_likely():
    _, counts = np.unique(permute(positions(4), keys_of(100_000, 4), 4).numpy(), axis=0, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n", [257, 688, 10_180])
def test_large_sets_mix(n):
    values = permute(positions(8), keys_of(200_000, n), n).numpy()
    assert chisquare(np.bincount(values[:, 3], minlength=n)).pvalue > 1e-4
    assert chisquare(np.bincount((values[:, 1] - values[:, 0]) % n, minlength=n)[1:]).pvalue > 1e-4
    assert np.abs(np.corrcoef(values.T) - np.eye(8)).max() < 0.015


@pytest.mark.parametrize("n", [*range(1, 300), 10_180, 1_000_003, 2**30 - 35, 2**30])
def test_digits(n):
    a, b = digits(n)
    assert n <= a * b <= n + a
    assert max(a, b) <= min(2**15, 4 * min(a, b) + 1)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu), "interpreter"])
@pytest.mark.parametrize("n", SIZES)
def test_twins_agree_to_the_bit(device, n):
    if device == "interpreter" and not INTERPRETED:
        pytest.skip("runs in the process that test_interpreter.py starts")
    from pertorch.ops.shuffle import _triton

    a, b = digits(n)
    position, keys = positions(min(n, 300)), keys_of(3, n)
    where = "cpu" if device == "interpreter" else device
    twin = _triton.permute(position.to(where), keys.to(where), n, a, b).cpu()
    assert torch.equal(twin, _torch.permute(position, keys, n, a, b))


def numbers(*shape, seed=0):
    return torch.randint(-(2**31), 2**31 - 1, shape, dtype=torch.int32, generator=torch.Generator().manual_seed(seed))


SETS = [(7, 3), (300, 299), (1, 1), (40, 5), (300, 150), (9, 9)]  # cells, of which so many are wanted


def test_subsets_of_several_sets():
    cells, replicates = [numbers(n, seed=n) for n, _ in SETS], [numbers(50 + n, 2, seed=1) for n, _ in SETS]
    found = choose(cells, replicates, [size for _, size in SETS])
    for weights, (n, size), own, draws in zip(found, SETS, cells, replicates, strict=True):
        assert weights.shape == (n, 50 + n)
        assert torch.equal(weights, weights.round().clamp(0, 1))
        assert (weights.sum(0) == size).all()
        assert torch.equal(weights, choose([own], [draws], [size])[0])  # whatever it is met with
        positions = chosen(own, draws, size)
        assert torch.equal(weights.T.gather(1, positions.long()), torch.ones(50 + n, size))
        assert (positions.diff() > 0).all()


@pytest.mark.parametrize(("n", "size"), [(2, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_every_chosen_subset_is_as_likely(n, size):
    """Every cell has one number for all replicates, so only many screens together show each subset."""
    found = [chosen(numbers(n, seed=seed), numbers(1000, 2, seed=-seed), size) for seed in range(100)]
    _, counts = np.unique(torch.cat(found).numpy(), axis=0, return_counts=True)
    assert len(counts) == math.comb(n, size)
    assert chisquare(counts).pvalue > 1e-4


def test_chosen_cells_are_independent():
    """Taking m of n, two cells' weights are correlated by −1 / (n − 1), and those of two replicates by nothing."""
    n, size, r = 200, 60, 20_000
    (weights,) = choose([numbers(n)], [numbers(r, 2)], [size])
    share = size / n
    scaled = (weights.double() - share) / (share * (1 - share)) ** 0.5
    z = scaled.mean(1) * r**0.5 / (1 - 1 / n) ** 0.5
    assert 0.8 < z.std() < 1.2
    assert z.abs().max() < 5
    between = (scaled @ scaled.T / r + 1 / (n - 1)).fill_diagonal_(0) * r**0.5
    assert 0.97 < between.std() < 1.03
    assert between.abs().max() < 5.5
    replicates = (scaled[:, :2000].T @ scaled[:, :2000] / n).fill_diagonal_(0) * n**0.5
    assert 0.97 < replicates.std() < 1.03
    assert replicates.abs().max() < 6.5


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu), "interpreter"])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (7, 3), (300, 40), (300, 300)])
def test_twins_choose_the_same(device, n, size):
    if device == "interpreter" and not INTERPRETED:
        pytest.skip("runs in the process that test_interpreter.py starts")
    from pertorch.ops.shuffle import _triton

    cells, replicates = numbers(n), numbers(70, 2, seed=1)
    where = "cpu" if device == "interpreter" else device
    twin = _triton.chosen(cells.to(where), replicates.to(where), size).cpu()
    assert torch.equal(twin, _choose.chosen(cells, replicates, size))


@pytest.mark.parametrize("n", [0, 2**30 + 1])
def test_too_many_cells(n):
    with pytest.raises(ValueError, match=f"permutations of {n} cells: from 1 to"):
        permute(positions(1), torch.zeros(1, 8, dtype=torch.int32), n)
