"""One set of tests for every implementation of an op: torch, and Triton compiled or in its interpreter."""

import os
from importlib import import_module
from typing import NamedTuple

import pytest
import torch

from pertorch.ops.pairwise import Kernel

EUCLIDEAN = Kernel("euclidean")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RELATIVE_ERROR = {torch.float32: 1e-6, torch.float64: 1e-12}


class Implementation(NamedTuple):
    """The module that implements an op, where its points lie, and the precisions it takes."""

    name: str
    module: str
    device: str
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)

    def block_sums(self, points, offsets, left, right, *, kernel=EUCLIDEAN, weights=None, tick=lambda _: None):
        twin = import_module(f"pertorch.ops.pairwise.{self.module}")
        points = points.to(self.device)
        weights = None if weights is None else weights.to(self.device)
        sums = twin.block_sums(points, offsets, left, right, kernel=kernel, weights=weights, tick=tick)
        assert sums.device.type == self.device
        return sums.cpu()


IMPLEMENTATIONS = [
    Implementation("torch", "_torch", "cpu"),
    Implementation("torch-cuda", "_torch", "cuda"),
    Implementation("triton-cuda", "_triton", "cuda", (torch.float32,)),
]
INTERPRETER = [Implementation("triton-interpreter", "_triton", "cpu", (torch.float32,))]


def pytest_generate_tests(metafunc):
    """Parameter ``block_sums_impl``; with ``precision``: a dtype and the error allowed."""
    if "block_sums_impl" in metafunc.fixturenames:
        impls = INTERPRETER if INTERPRETED else IMPLEMENTATIONS
        if "precision" in metafunc.fixturenames:
            params = [_param(i, (t, RELATIVE_ERROR[t]), suffix=f"-{t}") for i in impls for t in i.dtypes]
            metafunc.parametrize(["block_sums_impl", "precision"], params)
        else:
            metafunc.parametrize("block_sums_impl", [_param(i) for i in impls])


def _param(impl, *more, suffix=""):
    return pytest.param(impl, *more, id=impl.name + suffix, marks=[pytest.mark.gpu] if impl.device == "cuda" else [])


@pytest.fixture(autouse=True)
def _poison(poisoned_empty):
    """An op that reads memory which it did not write must not pass."""
