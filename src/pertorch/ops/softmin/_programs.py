"""Triton programs of the soft minima. `_triton.py` launches them."""

from __future__ import annotations

import triton
import triton.language as tl

from pertorch.ops.pairwise._programs import _add_dots, _load_halves

NOTHING = tl.constexpr(-1e30)


@triton.jit
def softmin_kernel(
    hi,  # (n, width) float16
    lo,  # (n, width) float16
    row_start,  # (b,) int64: where each problem's rows lie in the points
    row_size,  # (b,) int64
    column_start,  # (b,) int64
    column_size,  # (b,) int64
    scale,  # (b,) float32: of the dot products of the halves, in units of ln 2
    potential,  # (b, most_columns) float32, in units of ln 2: of the columns, with the logarithm of their weights
    out,  # (b, most_rows) float32: log2 of the sum
    most_rows,
    most_columns,
    WIDTH: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """``log2 Σ_j exp2(v_j + s x_i·y_j)`` of `BM` rows of one problem over all of its columns, in one pass.

    The state of the fold is the largest exponent so far and the sum relative to it.
    """
    problem = tl.program_id(1).to(tl.int64)
    n_rows = tl.load(row_size + problem)
    first = tl.program_id(0) * BM
    if first < n_rows:
        n_columns = tl.load(column_size + problem)
        at_column = tl.load(column_start + problem)
        s = tl.load(scale + problem)
        rows = first + tl.arange(0, BM)
        row_in = rows < n_rows
        a_hi, a_lo = _load_halves(hi, lo, tl.load(row_start + problem) + rows, row_in, 0, WIDTH, WIDTH, True)
        largest = tl.full([BM], NOTHING, tl.float32)
        total = tl.zeros([BM], tl.float32)
        whole = n_columns // BN * BN
        potential += problem * most_columns
        for start in range(0, whole, BN):
            columns = start + tl.arange(0, BN)
            b_hi, b_lo = _load_halves(hi, lo, at_column + columns, row_in, 0, WIDTH, WIDTH, False)
            dots = _add_dots(a_hi, a_lo, b_hi, b_lo, tl.zeros([BM, BN], tl.float32))
            largest, total = _fold(dots * s + tl.load(potential + columns)[None, :], largest, total)
        if whole < n_columns:
            columns = whole + tl.arange(0, BN)
            column_in = columns < n_columns
            b_hi, b_lo = _load_halves(hi, lo, at_column + columns, column_in, 0, WIDTH, WIDTH, True)
            dots = _add_dots(a_hi, a_lo, b_hi, b_lo, tl.zeros([BM, BN], tl.float32))
            added = tl.load(potential + columns, mask=column_in, other=NOTHING)
            largest, total = _fold(dots * s + added[None, :], largest, total)
        tl.store(out + problem * most_rows + rows, largest + tl.log2(total), mask=row_in)


@triton.jit
def _fold(exponent, largest, total):
    """Take a tile into the sum."""
    now = tl.maximum(largest, tl.max(exponent, 1))
    return now, total * tl.exp2(largest - now) + tl.sum(tl.exp2(exponent - now[:, None]), 1)
