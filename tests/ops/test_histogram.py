"""Histograms of counts: exact, whatever the parts they are read in."""

import itertools

import numpy as np
import pytest
import torch

from pertorch.ops.histogram import Tally
from pertorch.ops.histogram import _torch as implementation


def brute_force(column, value, n_columns):
    return [dict(zip(*np.unique(value[column == c], return_counts=True), strict=True)) for c in range(n_columns)]


def as_dicts(h):
    cuts = h.offsets.tolist()
    entries = list(zip(h.values.tolist(), h.times.tolist(), strict=True))
    return [dict(entries[a:b]) for a, b in itertools.pairwise(cuts)]


@pytest.fixture
def entries():
    rng = np.random.default_rng(0)
    column = rng.choice([0, 1, 2, 4, 5], 5000)  # column 3 stays empty
    value = np.where(rng.random(5000) < 0.9, rng.integers(1, 40, 5000), rng.integers(200, 10**6, 5000))
    return column, value


def test_counts_small_and_large_values(entries):
    column, value = entries
    tally = Tally(6)
    tally.add(torch.from_numpy(column), torch.from_numpy(value))
    assert as_dicts(tally.histograms()) == brute_force(column, value, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16, np.int64])
def test_any_dtype_of_whole_numbers(dtype):
    column, value = np.array([0, 1, 1, 1]), np.array([3, 250, 250, 1])
    value = np.minimum(value, np.iinfo(np.uint8).max).astype(dtype)
    tally = Tally(2)
    tally.add(torch.from_numpy(column.astype(np.int32)), torch.from_numpy(value))
    assert as_dicts(tally.histograms()) == [{3: 1}, {1: 1, 250: 2}]


def test_parts_merge(entries, monkeypatch):
    monkeypatch.setattr(implementation, "_PENDING", 50)  # so that rare values are pooled on the way
    column, value = (torch.from_numpy(x) for x in entries)
    whole = Tally(6)
    whole.add(column, value)
    left, right = Tally(6), Tally(6)
    for start in range(0, 5000, 700):
        part = left if start % 1400 else right
        part.add(column[start : start + 700], value[start : start + 700])
    left.merge(right)
    assert as_dicts(left.histograms()) == as_dicts(whole.histograms())


def test_parts_merge_that_were_counted_on_another_kind_of_device(entries, monkeypatch):
    """Whose tables are wider."""
    column, value = (torch.from_numpy(x) for x in entries)
    part, wide = Tally(6), dict.fromkeys(implementation._WIDEST, 4096)
    part.add(column, value)
    monkeypatch.setattr(implementation, "_WIDEST", wide)
    whole = Tally(6)
    for _ in range(2):
        whole.merge(part)
    whole.add(column, value)
    expected = [{value: 3 * times for value, times in found.items()} for found in as_dicts(part.histograms())]
    assert as_dicts(whole.histograms()) == expected


def test_values_ascend_and_empty_columns_are_empty(entries):
    column, value = (torch.from_numpy(x) for x in entries)
    tally = Tally(6)
    tally.add(column, value)
    h = tally.histograms()
    for start, stop in zip(h.offsets[:-1].tolist(), h.offsets[1:].tolist(), strict=True):
        assert (h.values[start:stop].diff() > 0).all()
    assert h.total().tolist() == np.bincount(entries[0], minlength=6).tolist()
    assert h.largest()[3] == 0
    assert h.largest()[0] == entries[1][entries[0] == 0].max()


def test_padding_counts_for_nothing(entries):
    column, value = (torch.from_numpy(x) for x in entries)
    tally = Tally(6)
    tally.add(column, value)
    h = tally.histograms()
    values, times = h.padded(torch.tensor([4, 3, 0]))
    assert times.sum(1).tolist() == h.total()[[4, 3, 0]].tolist()
    assert (values[times == 0] == 1).all()
    rows = [dict(zip(v[t > 0].tolist(), t[t > 0].tolist(), strict=True)) for v, t in zip(values, times, strict=True)]
    assert rows == [as_dicts(h)[column] for column in (4, 3, 0)]


def test_nothing_counted():
    h = Tally(3).histograms()
    assert h.offsets.tolist() == [0, 0, 0, 0]
    assert h.total().tolist() == [0, 0, 0] == h.largest().tolist()
    assert h.padded(torch.tensor([], dtype=torch.int64))[0].shape == (0, 0)
