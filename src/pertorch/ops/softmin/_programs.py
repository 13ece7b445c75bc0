"""Triton programs of the soft minima. `_triton.py` launches them.

The potentials of all problems lie end to end. Of each problem there are two places, of its rows and of its columns:
where the cloud's points start, how many they are, and where their potentials start.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pertorch.ops.pairwise._programs import add_dots, load_halves

NOTHING = tl.constexpr(-1e30)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit(do_not_specialize=["rows"])
def half_step_kernel(
    hi,  # (n, WIDTH) float16
    lo,  # (n, WIDTH) float16
    log_weight,  # (n,) float64
    places,  # (b, 6) int64
    tasks,  # (t, 2) int32: problem, and which BM of its rows
    scale,  # (b,) float32: of the dot products of the halves, in units of ln 2
    omega,  # (b,) float64
    source,  # float32: exponents of the columns
    potential,  # float64: of the rows, to be moved
    exponent,  # float32: theirs, with the logarithm of the weights, in units of ln 2
    gap,  # float64: what is left between them and the soft minima
    rows,  # where `places` say of the rows: 0 or 3
    WIDTH: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Move `BM` potentials of one problem to ``(1 − ω)`` old + ω soft minimum over all of its columns."""
    task = tasks + 2 * tl.program_id(0).to(tl.int64)
    problem = tl.load(task).to(tl.int64)
    place, columns = places + problem * 6 + rows, places + problem * 6 + (3 - rows)
    row = tl.load(task + 1) * BM + tl.arange(0, BM)
    row_in = row < tl.load(place + 1)
    point = tl.load(place) + row
    at = tl.load(place + 2) + row
    a_hi, a_lo = load_halves(hi, lo, point, row_in, 0, WIDTH, WIDTH, True)
    exponents = source + tl.load(columns + 2)
    total = _log2_sum(
        a_hi, a_lo, hi, lo, tl.load(columns), tl.load(columns + 1), exponents, tl.load(scale + problem), WIDTH, BM, BN
    )
    old = tl.load(potential + at, mask=row_in, other=0.0)
    away = old + total.to(tl.float64) * LN2
    w = tl.load(omega + problem)
    tl.store(gap + at, (1 - w) * away, mask=row_in)
    _store(potential, exponent, log_weight, at, point, row_in, old - w * away)


@triton.jit(do_not_specialize=["rows"])
def move_kernel(log_weight, places, tasks, omega, potential, exponent, gap, rows, BM: tl.constexpr):
    """Move `BM` potentials of one problem by ω of the gap. See `half_step_kernel`."""
    task = tasks + 2 * tl.program_id(0).to(tl.int64)
    problem = tl.load(task).to(tl.int64)
    place = places + problem * 6 + rows
    row = tl.load(task + 1) * BM + tl.arange(0, BM)
    row_in = row < tl.load(place + 1)
    at = tl.load(place + 2) + row
    old = tl.load(potential + at, mask=row_in, other=0.0)
    moved = old - tl.load(omega + problem) * tl.load(gap + at, mask=row_in, other=0.0)
    _store(potential, exponent, log_weight, at, tl.load(place) + row, row_in, moved)


@triton.jit
def errors_kernel(log_weight, places, alpha, alpha_gap, beta, beta_gap, out, BLOCK: tl.constexpr):
    """`Errors` of one problem, to row ``problem`` of `out`, shape ``(b, 3)``, float64; added up in one order."""
    problem = tl.program_id(0).to(tl.int64)
    place = places + problem * 6
    row_error, _, row_value = _side_errors(log_weight, place, alpha, alpha_gap, BLOCK)
    error, divergence, value = _side_errors(log_weight, place + 3, beta, beta_gap, BLOCK)
    tl.store(out + problem * 3, row_error + error)
    tl.store(out + problem * 3 + 1, divergence)
    tl.store(out + problem * 3 + 2, row_value + value)


@triton.jit
def _log2_sum(
    a_hi, a_lo, hi, lo, start, n_columns, exponents, scale, WIDTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr
):
    """``log2 Σ_j exp2(v_j + s x_i·y_j)`` in one pass: the largest exponent so far, and the sum relative to it."""
    largest = tl.full([BM], NOTHING, tl.float32)
    total = tl.zeros([BM], tl.float32)
    whole = n_columns // BN * BN
    for first in range(0, whole, BN):
        column = first + tl.arange(0, BN)
        b_hi, b_lo = load_halves(hi, lo, start + column, column < n_columns, 0, WIDTH, WIDTH, False)
        dots = add_dots(a_hi, a_lo, b_hi, b_lo, tl.zeros([BM, BN], tl.float32))
        largest, total = _fold(dots * scale + tl.load(exponents + column)[None, :], largest, total)
    if whole < n_columns:
        column = whole + tl.arange(0, BN)
        column_in = column < n_columns
        b_hi, b_lo = load_halves(hi, lo, start + column, column_in, 0, WIDTH, WIDTH, True)
        dots = add_dots(a_hi, a_lo, b_hi, b_lo, tl.zeros([BM, BN], tl.float32))
        added = tl.load(exponents + column, mask=column_in, other=NOTHING)
        largest, total = _fold(dots * scale + added[None, :], largest, total)
    return largest + tl.log2(total)


@triton.jit
def _fold(exponent, largest, total):
    """Take a tile into the sum."""
    now = tl.maximum(largest, tl.max(exponent, 1))
    return now, total * tl.exp2(largest - now) + tl.sum(tl.exp2(exponent - now[:, None]), 1)


@triton.jit
def _store(potential, exponent, log_weight, at, point, inside, value):
    """Store potentials, and the exponents that they become as columns."""
    added = value + tl.load(log_weight + point, mask=inside, other=0.0)
    tl.store(potential + at, value, mask=inside)
    tl.store(exponent + at, (added * (1 / LN2)).to(tl.float32), mask=inside)


@triton.jit
def _side_errors(log_weight, place, potential, gap, BLOCK: tl.constexpr):
    """Σ w |exp(gap) − 1|, Σ w gap² / 2 and Σ w potential of one side."""
    start, size, at = tl.load(place), tl.load(place + 1), tl.load(place + 2)
    error = tl.zeros([BLOCK], tl.float64)
    divergence = tl.zeros([BLOCK], tl.float64)
    value = tl.zeros([BLOCK], tl.float64)
    for first in range(0, size, BLOCK):
        row = first + tl.arange(0, BLOCK)
        inside = row < size
        weight = tl.exp(tl.load(log_weight + start + row, mask=inside, other=NOTHING))
        away = tl.load(gap + at + row, mask=inside, other=0.0)
        error += weight * tl.abs(tl.exp(away) - 1)
        divergence += weight * away * away / 2
        value += weight * tl.load(potential + at + row, mask=inside, other=0.0)
    return tl.sum(error, 0), tl.sum(divergence, 0), tl.sum(value, 0)
