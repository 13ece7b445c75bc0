"""Permutations and subsets in Triton. Twins of ``_torch.permute`` and ``_choose.chosen``, to the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.shuffle import _programs

BLOCK = 256
REPLICATES = 32  # a program: one warp, since all that it does is wait for itself


def permute(position: Tensor, keys: Tensor, n: int, a: int, b: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.permute`."""
    out = torch.empty(len(keys), len(position), dtype=torch.int32, device=position.device)
    grid = (len(keys), -(-len(position) // BLOCK))
    with current_device(position.device):
        _programs.permute_kernel[grid](
            position, keys.contiguous(), out, n, a, b, len(position), N_KEYS=keys.shape[1], BLOCK=BLOCK
        )
    return out


def chosen(cells: Tensor, replicates: Tensor, size: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.chosen`."""
    n, r = len(cells), len(replicates)
    out = torch.empty(r, size, dtype=torch.int32, device=cells.device)
    with current_device(cells.device):
        _programs.chosen_kernel[(-(-r // REPLICATES),)](
            cells.contiguous(), replicates.contiguous(), out, n, size, r, BLOCK=REPLICATES, num_warps=1
        )
    return out
