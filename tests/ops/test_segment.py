import itertools
from importlib import import_module

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from pertorch.ops.segment import _stored, group_sums
from testing.pertorch import assert_close

from .conftest import INTERPRETED

SIZES = (5, 1, 0, 300, 20)
OFFSETS = torch.tensor([0, *itertools.accumulate(SIZES)])

on_devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


def rows(dtype=torch.float32):
    return (1000 + torch.randn(sum(SIZES), 7, generator=torch.manual_seed(0))).to(dtype)


@on_devices
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_sums_in_float64(device, dtype):
    x = rows(dtype)
    sums = group_sums(x.to(device), OFFSETS)
    assert sums.dtype == torch.float64
    assert sums.device.type == device
    parts = np.split(x.double().numpy(), OFFSETS[1:-1].numpy())
    assert_close(sums[:, 0], np.stack([part.sum(0) for part in parts]), rel=1e-14)


@on_devices
def test_weighted_sums(device):
    x = rows()
    weights = torch.randint(0, 4, (len(x), 6), generator=torch.manual_seed(1)).float()
    sums = group_sums(x.to(device), OFFSETS, weights.to(device))
    parts = zip(*(np.split(v.double().numpy(), OFFSETS[1:-1].numpy()) for v in (weights, x)), strict=True)
    assert_close(sums, np.stack([w.T @ part for w, part in parts]), rel=1e-14)


@on_devices
def test_bits_depend_on_the_group_alone(device):
    x = rows().to(device)
    start, stop = int(OFFSETS[3]), int(OFFSETS[4])
    alone = group_sums(x[start:stop].clone(), torch.tensor([0, stop - start]))
    assert torch.equal(group_sums(x, OFFSETS)[3], alone[0])


WAYS = [
    pytest.param("_torch", "cpu", id="torch"),
    pytest.param("_torch", "cuda", id="torch-cuda", marks=pytest.mark.gpu),
    pytest.param("_triton", "cuda", id="triton-cuda", marks=pytest.mark.gpu),
]
WAYS = [pytest.param("_triton", "cpu", id="triton-interpreter")] if INTERPRETED else WAYS


@pytest.mark.parametrize(("way", "device"), WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("squared", [False, True])
def test_sums_of_what_is_stored(way, device, dtype, squared, monkeypatch):
    """Row after row, to the bit; rows without values, runs without rows, and runs that come in pieces."""
    monkeypatch.setattr(_stored, "AT_ONCE", 300)
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 3, (60, 23)).astype(dtype) * (rng.random((60, 23)) < 0.4)
    values[7] = 0
    matrix, rows, lengths = sp.csr_array(values), rng.permutation(60)[:50], np.array([1, 20, 0, 29])
    module = _stored.in_torch if way == "_torch" else import_module("pertorch.ops.segment._triton").stored_sums
    stored = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64), rows, lengths)
    found = module(*(torch.from_numpy(part).to(device) for part in stored), 23, squared=squared).cpu().numpy()
    wide = values.astype(np.float64) ** (1 + squared)
    for total, some in zip(found, np.split(rows, lengths.cumsum()[:-1]), strict=True):
        expected = np.zeros(23)
        for row in some:
            expected += wide[row]
        np.testing.assert_array_equal(total, expected)
