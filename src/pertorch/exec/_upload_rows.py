"""Some rows from the host's memory to a device's."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE_BYTES = 16 * 2**20


def upload_rows(values: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """``values[rows].to(device)`` for a contiguous matrix, on the host without memory that is touched only once.

    torch's threads gather the rows of a piece right into pinned memory, while the piece before it travels.
    """
    if device.type != "cuda" or not len(rows):
        return values.index_select(0, rows.to(values.device)).to(device)
    out = torch.empty((len(rows), *values.shape[1:]), dtype=values.dtype, device=device)
    step = max(1, PIECE_BYTES // max(1, values[:1].nbytes))
    for part, place in zip(rows.cpu().split(step), out.split(step), strict=True):
        pinned = torch.empty((len(part), *values.shape[1:]), dtype=values.dtype, pin_memory=True)
        place.copy_(torch.index_select(values, 0, part, out=pinned), non_blocking=True)
    return out
