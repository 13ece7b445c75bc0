from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pertorch.ops.ranks import average_ranks, dense_ranks, kendall_tau, tally, value_table
from testing.pertorch import assert_close

rows = st.integers(2, 40).flatmap(lambda p: arrays(np.int64, (2, 3, p), elements=st.integers(0, 6)))


@hypothesis.given(rows)
def test_ranks(values):
    tensor = torch.from_numpy(values).double()
    assert_close(average_ranks(tensor), stats.rankdata(values, axis=-1), rel=0)
    assert_close(dense_ranks(tensor), stats.rankdata(values, method="dense", axis=-1) - 1, rel=0)


@hypothesis.given(rows)
def test_kendall_tau(values):
    x, y = dense_ranks(torch.from_numpy(values))
    expected = [
        np.nan if min(a.ptp() if hasattr(a, "ptp") else np.ptp(a), np.ptp(b)) == 0 else stats.kendalltau(a, b).statistic
        for a, b in zip(*values, strict=True)
    ]
    assert_close(kendall_tau(x, y), expected, rel=1e-12, scale=1.0)


@pytest.mark.parametrize("p", [2, 3, 1000, 2048])
def test_kendall_tau_of_many(p):
    x, y = np.random.default_rng(0).normal(size=(2, p))
    y += x
    found = kendall_tau(*(dense_ranks(torch.from_numpy(v)) for v in (x, y)))
    assert_close(found, stats.kendalltau(x, y).statistic, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_tally(dtype, device):
    random = np.random.default_rng(0)
    pool = np.array([-np.float32(3e38), -2.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 1.5, 7e30], dtype)
    values, slots = random.choice(pool, 200), random.integers(0, 4, 200)
    zeros = np.array([0, 3, 1, 0])
    tensors = [torch.from_numpy(v).to(device) for v in (slots, values, zeros)]
    found = tally(tensors[0], tensors[1], range(4), tensors[2], value_table(tensors[1]))
    first = 0
    for slot, length in enumerate(found.lengths.tolist()):
        full = np.concatenate([values[slots == slot] + 0, np.zeros(zeros[slot], dtype)])
        distinct, counts = np.unique(full, return_counts=True)
        run = slice(first, first + length)
        there = found.counts[run] > 0
        assert_close(found.values[run][there], distinct.astype(np.float64), rel=0)
        assert_close(found.counts[run][there], counts, rel=0)
        assert_close(found.below[run], [np.sum(full < v) for v in found.values[run].tolist()], rel=0)
        first += length
