"""Random numbers as a function of (seed, key, replicate, draw)."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest, pearsonr

from pertorch.stats import uniform

N = 40_000
DRAWS = torch.arange(N)
ZERO = torch.tensor(0)


def stream(seed=0, key=0, replicate=0, draw=DRAWS):
    key, replicate = (torch.as_tensor(v, dtype=torch.int64) for v in (key, replicate))
    return uniform(seed, key, replicate, draw).numpy()


def along(axis):
    """N numbers along one of the four arguments, the others fixed."""
    if axis == "seed":
        return np.array([float(uniform(s, ZERO, ZERO, ZERO)) for s in range(4000)])
    return stream(**{"draw": ZERO, axis: DRAWS}) if axis != "draw" else stream()


@pytest.mark.parametrize("axis", ["seed", "key", "replicate", "draw"])
def test_uniform_along_every_axis(axis):
    u = along(axis)
    assert u.dtype == np.float64
    assert u.min() >= 0
    assert u.max() < 1
    assert len(np.unique(u)) == len(u)
    assert kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("axis", ["seed", "key", "replicate", "draw"])
def test_neighbours_are_independent(axis):
    u = along(axis)
    for lag in (1, 2, 7):
        assert pearsonr(u[:-lag], u[lag:]).pvalue > 1e-3
        pairs = np.histogram2d(u[:-lag], u[lag:], bins=8, range=[[0, 1], [0, 1]])[0]
        assert chisquare(pairs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 0}, {"seed": 1}),
        ({"seed": 0}, {"seed": -1}),
        ({"seed": 3}, {"seed": 3 + 2**32}),
        ({"key": 0}, {"key": 1}),
        ({"key": 5}, {"key": -5}),
        ({"key": 2**62}, {"key": 0}),
        ({"replicate": 0}, {"replicate": 1}),
        ({"key": 1, "replicate": 0}, {"key": 0, "replicate": 1}),
        ({"seed": 1, "key": 0}, {"seed": 0, "key": 1}),
    ],
    ids=str,
)
def test_streams_are_independent(one, other):
    u, v = stream(**one), stream(**other)
    assert not np.isin(u, v).any()
    assert pearsonr(u, v).pvalue > 1e-3
    assert chisquare(np.histogram2d(u, v, bins=8, range=[[0, 1], [0, 1]])[0].ravel()).pvalue > 1e-3


def test_each_bit_is_fair():
    bits = (stream() * 2**53).astype(np.int64)
    for k in range(53):
        ones = int(((bits >> k) & 1).sum())
        assert abs(ones - N / 2) < 4.5 * np.sqrt(N) / 2


def test_a_number_depends_on_its_four_arguments_alone():
    grid = uniform(9, torch.tensor([[[4]], [[2]]]), torch.tensor([[0], [7]]), torch.arange(5))
    assert grid.shape == (2, 2, 5)
    for i, key in enumerate((4, 2)):
        for j, replicate in enumerate((0, 7)):
            alone = uniform(9, torch.tensor(key), torch.tensor(replicate), torch.arange(4, -1, -1))
            assert torch.equal(grid[i, j], alone.flip(0))


@pytest.mark.gpu
def test_same_bits_on_a_gpu():
    arguments = torch.arange(-5, 5)[:, None], torch.tensor(3), torch.arange(100)
    assert torch.equal(uniform(7, *arguments), uniform(7, *(a.cuda() for a in arguments)).cpu())
