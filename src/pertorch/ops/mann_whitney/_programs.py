"""Places among sorted controls as a Triton program: a row at a time, each stored value by itself."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _search(x, low, high, controls, steps, ABOVE: tl.constexpr):
    for _ in range(steps):
        middle = (low + high) // 2
        open_ = low < high
        there = tl.load(controls + middle, mask=open_, other=0.0)
        goes_right = open_ & ((there <= x) if ABOVE else (there < x))
        low = tl.where(goes_right, middle + 1, low)
        high = tl.where(goes_right, high, middle)
    return low


@triton.jit
def _past_ties(x, low, last, controls, steps):
    """First position from `low` on whose control is above x. Ties are few: the steps begin with one and double."""
    width, growing = low * 0 + 1, low < last
    for _ in range(steps + 1):
        open_ = growing & (low + width <= last)
        there = tl.load(controls + low + width - 1, mask=open_, other=0.0)
        growing = open_ & (there <= x)
        low = tl.where(growing, low + width, low)
        width = tl.where(growing, 2 * width, width)
    return _search(x, low, tl.minimum(low + width - 1, last), controls, steps, ABOVE=True)


@triton.jit(do_not_specialize=["n_columns", "steps"])
def excess_kernel(
    out,  # (k, n_columns) int64
    values,  # (nnz,)
    columns,  # (nnz,) int32
    indptr,  # int64
    rows,  # (n,) int64
    groups,  # (n,) int64
    controls,  # (c,)
    starts,  # (n_columns + 1,) int64
    zeros,  # (n_columns,) int64
    of_zero,  # (n_columns,) int64
    n_columns,
    steps,
    BLOCK: tl.constexpr,
):
    """One row."""
    program = tl.program_id(0)
    row = tl.load(rows + program)
    out += tl.load(groups + program) * n_columns
    start, stop = tl.load(indptr + row), tl.load(indptr + row + 1)
    for begin in range(start, stop, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        inside = at < stop
        x = tl.load(values + at, mask=inside, other=0.0)
        gene = tl.load(columns + at, mask=inside, other=0)
        first = tl.load(starts + gene, mask=inside, other=0)
        last = tl.load(starts + gene + 1, mask=inside, other=0)
        left = _search(x, first, last, controls, steps, ABOVE=False)
        right = _past_ties(x, left, last, controls, steps)
        share = tl.where(x > 0, 2, tl.where(x < 0, 0, 1)).to(tl.int64)
        excess = left + right - 2 * first + share * tl.load(zeros + gene, mask=inside, other=0)
        tl.atomic_add(out + gene, excess - tl.load(of_zero + gene, mask=inside, other=0), mask=inside, sem="relaxed")
