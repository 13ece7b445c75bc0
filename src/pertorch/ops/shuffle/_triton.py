"""Feistel permutations in Triton. Twin of ``_torch.permute``, to the bit."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from pertorch.ops.shuffle import _programs

BLOCK = 256


def permute(position: Tensor, keys: Tensor, n: int, a: int, b: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.permute`."""
    out = torch.empty(len(keys), len(position), dtype=torch.int32, device=position.device)
    grid = (len(keys), -(-len(position) // BLOCK))
    with torch.cuda.device(position.device) if position.is_cuda else nullcontext():
        _programs.permute_kernel[grid](
            position, keys.contiguous(), out, n, a, b, len(position), N_KEYS=keys.shape[1], BLOCK=BLOCK
        )
    return out
