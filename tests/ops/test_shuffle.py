"""Random permutations as functions: bijections, every subset as likely as another, the same bits on every device."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pertorch.ops.shuffle import _torch, digits, n_keys, permute

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


@pytest.mark.parametrize("n", [0, 2**30 + 1])
def test_too_many_cells(n):
    with pytest.raises(ValueError, match=f"permutations of {n} cells: from 1 to"):
        permute(positions(1), torch.zeros(1, 8, dtype=torch.int32), n)
