import itertools

import numpy as np
import pytest
import torch

from pertorch.ops.segment import group_sums
from testing.pertorch import assert_close

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
