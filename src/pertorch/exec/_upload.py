"""From the host's memory to a device's."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE_BYTES = 16 * 2**20  # pinned memory that a copy holds at a time; torch keeps it for the next one


def upload(values: Tensor, device: torch.device, rows: Tensor | None = None) -> Tensor:
    """``values.to(device)``, or ``values[rows].to(device)``, at the bus's speed: a GPU reads pageable memory at half.

    The pieces go by way of pinned memory, each while the next is being copied, or gathered, right there. Nobody waits
    for the last.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return (values if rows is None else values.index_select(0, rows.to(values.device))).to(device)
    rows = rows if rows is None else rows.cpu()
    out = values.new_empty((len(values if rows is None else rows), *values.shape[1:]), device=device)
    step = max(1, PIECE_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(out), step):
        piece = slice(start, start + step)
        pinned = torch.empty(out[piece].shape, dtype=out.dtype, pin_memory=True)
        if rows is None:
            pinned.copy_(values[piece])
        else:
            torch.index_select(values, 0, rows[piece], out=pinned)
        out[piece].copy_(pinned, non_blocking=True)
    return out
