"""Counts on a GPU: the same as in memory. The passes are torch's, so a CPU can run them too."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from pertorch.data import DeviceCsr
from pertorch.pp import _resident
from pertorch.pp._counts import above, open_counts
from pertorch.pp._histograms import histograms
from pertorch.pp._max_guide import largest_guide

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def simulate(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.poisson(0.4, (500, 30)) * rng.choice([1, 1, 1, 300], (500, 30))
    dense[rng.choice(500, 40)] = 0
    return sp.csr_matrix(np.minimum(dense, np.iinfo(dtype).max if np.dtype(dtype).kind != "f" else 2**20).astype(dtype))


def put(csr, device):
    return DeviceCsr.uploaded((csr.data, csr.indices, csr.indptr.astype(np.int64)), 30, torch.device(device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_as_in_memory(device, dtype, monkeypatch):
    csr = simulate(dtype)
    on_gpu, host = put(csr, device), open_counts(csr)
    monkeypatch.setattr(_resident, "_PASS", 1000)
    assert _resident.is_sound(on_gpu)
    ours, truth = _resident.histograms(on_gpu), histograms(host, torch.device("cpu"))
    for mine, other in ((ours.offsets, truth.offsets), (ours.values, truth.values), (ours.times, truth.times)):
        assert mine.tolist() == other.tolist()
    for threshold in (np.array(2.0), np.where(np.arange(30) % 7, np.arange(30.0), np.nan)):
        found, expected = _resident.above(on_gpu, threshold), above(host, threshold)
        assert found.dtype == expected.dtype == np.int8
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    for found, expected in zip(_resident.largest(on_gpu), largest_guide(host), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [0, -1, np.nan, 1.5, np.inf, 2.0**41])
def test_what_needs_mending_or_is_no_count_is_seen(device, bad):
    csr = simulate()
    csr.data[77] = bad
    assert not _resident.is_sound(put(csr, device))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_out_of_order_are_seen(device):
    csr = simulate()
    row = int(np.flatnonzero(np.diff(csr.indptr) >= 2)[-1])
    pair = slice(csr.indptr[row], csr.indptr[row] + 2)
    csr.indices[pair] = csr.indices[pair][::-1].copy()
    assert not _resident.is_sound(put(csr, device))
    csr.indices[pair] = csr.indices[pair][0]
    assert not _resident.is_sound(put(csr, device)), "a repeated entry"


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_there(device):
    csr = sp.csr_matrix((500, 30), dtype=np.float32)
    on_gpu = put(csr, device)
    assert _resident.is_sound(on_gpu)
    assert _resident.above(on_gpu, np.array(1.0)).nnz == 0
    assert set(_resident.largest(on_gpu)[0]) == {-1}
