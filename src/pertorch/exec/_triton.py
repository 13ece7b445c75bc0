"""Where Triton programs run, and what a launch needs around it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch


def runs_triton(x: torch.Tensor) -> bool:
    """Whether Triton programs can compute on a tensor: it lies on a CUDA device, and Triton is installed."""
    return x.is_cuda and find_spec("triton") is not None


def current_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one of this thread, where Triton launches; for a CPU (its interpreter) nothing."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
