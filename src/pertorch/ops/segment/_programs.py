"""Sums of stored values as a Triton program: a run of rows at a time, row after row."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_columns"])
def stored_sums_kernel(
    out,  # (r, n_columns) float64, zeros
    values,  # (nnz,)
    columns,  # (nnz,) int32
    indptr,  # int64
    rows,  # (n,) int64
    ends,  # (r + 1,) int64: run i is rows ends[i] to ends[i + 1]
    n_columns,
    SQUARED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One run. No two values of a row share a column, so only rows must wait for one another."""
    run = tl.program_id(0).to(tl.int64)
    out += run * n_columns
    for i in range(tl.load(ends + run), tl.load(ends + run + 1)):
        row = tl.load(rows + i)
        start, stop = tl.load(indptr + row), tl.load(indptr + row + 1)
        for begin in range(start, stop, BLOCK):
            at = begin + tl.arange(0, BLOCK)
            x = tl.load(values + at, mask=at < stop, other=0.0).to(tl.float64)
            place = out + tl.load(columns + at, mask=at < stop, other=0)
            total = tl.load(place, mask=at < stop, other=0.0)
            tl.store(place, total + (x * x if SQUARED else x), mask=at < stop)
        tl.debug_barrier()
