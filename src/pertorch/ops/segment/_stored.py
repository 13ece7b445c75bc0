"""Sums of runs of rows, from what a sparse matrix on a device stores of them."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.ops.segment._ragged import batches, expand

AT_ONCE = 2**24  # values of a dense block


def stored_sums(
    values: Tensor, columns: Tensor, indptr: Tensor, rows: Tensor, lengths: Tensor, n_columns: int, *, squared: bool
) -> Tensor:
    """Sum of each run of rows of a CSR matrix, of the values or of their squares, row after row in float64.

    The bits depend on the rows of a run and their order alone.

    Parameters
    ----------
    values, columns, indptr
        The matrix.
    rows
        Shape ``(n,)``, int64: rows of it, run after run.
    lengths
        Shape ``(r,)``, int64, adding up to n: rows of each run.
    n_columns
        Columns of the matrix.
    squared
        Whether to sum squares.

    Returns
    -------
    Shape ``(r, n_columns)``, float64.
    """
    if runs_triton(values):
        from pertorch.ops.segment import _triton

        return _triton.stored_sums(values, columns, indptr, rows, lengths, n_columns, squared=squared)
    return in_torch(values, columns, indptr, rows, lengths, n_columns, squared=squared)


def in_torch(
    values: Tensor, columns: Tensor, indptr: Tensor, rows: Tensor, lengths: Tensor, n_columns: int, *, squared: bool
) -> Tensor:
    """See :func:`stored_sums`: rows made dense, and added up one after the other."""
    out = torch.zeros(len(lengths), n_columns, dtype=torch.float64, device=values.device)
    if not len(rows):
        return out
    ends = lengths.cumsum(0)
    for part in batches(lengths.cpu() * n_columns, AT_ONCE):
        some = rows[int(ends[part.start] - lengths[part.start]) : int(ends[part.stop - 1])]
        start = indptr[some]
        at, run = expand(start, indptr[some + 1] - start)
        x = values[at].double()
        block = torch.zeros(len(some), n_columns, dtype=torch.float64, device=values.device)
        block[run, columns[at].long()] = x.square_() if squared else x
        out[part] = torch.segment_reduce(block, "sum", lengths=lengths[part], axis=0, unsafe=True)
    return out
