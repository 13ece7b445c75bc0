from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from pertorch.ops import mann_whitney
from pertorch.ops.mann_whitney import _numpy, _torch

PATHS = [pytest.param(_numpy, id="numpy"), pytest.param(_torch, id="torch")]


def ragged(values: np.ndarray, offsets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    columns = sp.csc_array(values)
    cuts = mann_whitney.group_cuts(columns.indices, columns.indptr, offsets)
    return torch.from_numpy(columns.data), torch.from_numpy(cuts), torch.from_numpy(np.diff(offsets))


def counted(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """U by comparing every pair."""
    controls = values[: offsets[1]]
    below = (controls[:, None] < values).sum(0) + 0.5 * (controls[:, None] == values).sum(0)
    return np.stack([below[a:b].sum(0) for a, b in pairwise(offsets)], 1)


@pytest.mark.parametrize("path", PATHS)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    n_controls=st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]),
    levels=st.integers(1, 50),
)
def test_u_is_what_counting_pairs_gives(path, seed, sizes, n_controls, dtype, levels):
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, n_controls, *sizes])
    values = rng.integers(-levels, levels, (offsets[-1], 3)).astype(dtype) / 7 * (rng.random((offsets[-1], 3)) < 0.6)
    values[:, 1] = np.abs(values[:, 1])
    np.testing.assert_array_equal(path.u_statistics(*ragged(values, offsets)).numpy(), counted(values, offsets))


@pytest.mark.parametrize("path", PATHS)
def test_u_is_scipys(path):
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(0, 1, (60, 8)), 1)
    u = path.u_statistics(*ragged(values, np.array([0, 25, 60]))).numpy()
    expected = scipy.stats.mannwhitneyu(values[25:], values[:25]).statistic
    np.testing.assert_allclose(u[:, 1], expected, rtol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_moments(path):
    rng = np.random.default_rng(0)
    values, offsets = rng.normal(size=(30, 5)) * (rng.random((30, 5)) < 0.5), np.array([0, 10, 10, 30])
    sums, squares = path.moments(*ragged(values, offsets)[:2])
    for power, found in ((1, sums), (2, squares)):
        expected = [(values[a:b] ** power).sum(0) for a, b in pairwise(offsets)]
        np.testing.assert_allclose(found.numpy(), np.stack(expected, 1), atol=1e-13)
