"""Sums of stored values in Triton. Twin of ``_stored.in_torch``, to the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.segment import _programs

BLOCK = 512


def stored_sums(
    values: Tensor, columns: Tensor, indptr: Tensor, rows: Tensor, lengths: Tensor, n_columns: int, *, squared: bool
) -> Tensor:
    """See :func:`pertorch.ops.segment.stored_sums`."""
    out = torch.zeros(len(lengths), n_columns, dtype=torch.float64, device=values.device)
    if len(rows):
        ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        with current_device(out.device):
            _programs.stored_sums_kernel[(len(lengths),)](
                out,
                values,
                columns,
                indptr,
                rows,
                ends,
                n_columns,
                SQUARED=squared,
                BLOCK=BLOCK,
                num_warps=4,
                enable_fp_fusion=False,  # which would round a square and its sum once, torch twice
            )
    return out
