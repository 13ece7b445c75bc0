"""Random subsets in torch, cell after cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NUMBERS = 2**18  # hashed at once: they stay in the cores' L2, and are enough for all of them

# As 0-dimensional tensors: torch turns each number in Python into one of int64, then of int32, at every use.
_FIRST, _SECOND, _LOWER_16, _LOWER_17, _LOWER_24 = (
    torch.tensor(c, dtype=torch.int32) for c in (0x7FEB352D, 0x846CA68B - 2**32, 0xFFFF, 0x1FFFF, 0xFFFFFF)
)
_SHIFTS = {by: torch.tensor(by, dtype=torch.int32) for by in (8, 15, 16)}


def choose(cells: Sequence[Tensor], replicates: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """See :func:`pertorch.ops.shuffle.choose`."""
    # Large sets come first: so the cells of one number, in all sets that have it, lie side by side.
    order = sorted(range(len(cells)), key=lambda i: -len(cells[i]))
    widths = [len(replicates[i]) for i in order]
    room = torch.empty(len(cells[order[0]]), sum(widths), device=cells[0].device)
    blocks = [block[: len(cells[i])] for i, block in zip(order, room.split(widths, 1), strict=True)]
    for i, block in zip(order, blocks, strict=True):
        step = max(1, NUMBERS // block.shape[1])
        for start in range(0, len(block), step):
            _draw(cells[i], replicates[i], block, start, min(start + step, len(block)))
    wanted = torch.tensor([float(sizes[i]) for i in order], device=room.device)
    left_to_choose = wanted.repeat_interleave(torch.tensor(widths, device=room.device))
    done = 0
    for last in range(len(order) - 1, -1, -1):
        columns, n = sum(widths[: last + 1]), len(blocks[last])
        left = left_to_choose[:columns]
        for row in room[done:n, :columns].unbind(0):
            left -= row.lt_(left)
        done = n
    return [blocks[order.index(i)] for i in range(len(order))]


def chosen(cells: Tensor, replicates: Tensor, size: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.chosen`."""
    (weights,) = choose([cells], [replicates], [size])
    return weights.T.nonzero()[:, 1].view(len(replicates), size).int()


def _draw(cells: Tensor, replicates: Tensor, out: Tensor, start: int, stop: int) -> None:
    """A uniform number below the number of cells from each one on, for the cells ``start:stop``, in each replicate.

    A keyed hash of 32 bits, of which the upper 24 are taken: all that float32 holds.
    """
    n, first, second = len(cells), *replicates.T.contiguous()
    z = out[start:stop].view(torch.int32)
    torch.bitwise_xor(cells[start:stop, None], first, out=z)
    shifted = torch.bitwise_right_shift(z, _SHIFTS[16])
    z.bitwise_xor_(shifted.bitwise_and_(_LOWER_16)).mul_(_FIRST).add_(second)
    torch.bitwise_right_shift(z, _SHIFTS[15], out=shifted)
    z.bitwise_xor_(shifted.bitwise_and_(_LOWER_17)).mul_(_SECOND)
    torch.bitwise_right_shift(z, _SHIFTS[8], out=shifted).bitwise_and_(_LOWER_24)
    remaining = torch.arange(n - start, n - stop, -1, dtype=torch.float32, device=out.device)
    out[start:stop].copy_(shifted).mul_(remaining[:, None] * 2.0**-24)
