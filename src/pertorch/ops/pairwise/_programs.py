"""Triton programs of the pairwise engine. `_triton.py` launches them."""

from __future__ import annotations

import triton
import triton.language as tl

# κ of a squared distance, and how fast it changes: |dκ / d(d²)|. `gamma` comes scaled as the points are.


@triton.jit
def euclidean(squared, gamma):
    """``d`` and ``1 / 2d``: 0 and very much for two cells that are one, or that rounding left a negative number."""
    inverse = tl.math.rsqrt(tl.maximum(tl.abs(squared), 1e-30))
    return tl.abs(squared) * inverse, 0.5 * inverse


@triton.jit
def sqeuclidean(squared, gamma):
    """``d²`` and 1."""
    return squared, squared * 0 + 1


@triton.jit
def rbf(squared, gamma):
    """``exp(−γ d²)`` and γ times that."""
    value = tl.exp(-gamma * squared)
    return value, gamma * value


@triton.jit
def load_halves(hi, lo, rows, inside, start, width, BK: tl.constexpr, MASKED: tl.constexpr):
    """Features ``start : start + BK`` of some rows; rows outside are 0."""
    at = rows[:, None].to(tl.int64) * width + (start + tl.arange(0, BK))[None, :]
    if MASKED:
        upper = tl.load(hi + at, mask=inside[:, None], other=0.0)
        lower = tl.load(lo + at, mask=inside[:, None], other=0.0)
    else:
        upper = tl.load(hi + at)
        lower = tl.load(lo + at)
    return upper, lower


@triton.jit
def add_dots(a_hi, a_lo, b_hi, b_lo, acc):
    """``acc + a · bᵀ`` to float32's precision: the fourth product, lo · lo, is below it.

    Small products come first: matrix units round every addition towards 0, the more the larger the sum so far.
    """
    acc = tl.dot(a_lo, tl.trans(b_hi), acc)
    acc = tl.dot(a_hi, tl.trans(b_lo), acc)
    return tl.dot(a_hi, tl.trans(b_hi), acc)


@triton.jit
def _squared_distances(
    hi, lo, norm, rows, row_in, norm_rows, a_hi, a_lo, columns, column_in, width,
    MASKED: tl.constexpr, RESIDENT: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """``|x|² + |y|² − 2 x·y`` of a tile, and ``|x|² + |y|²``. Rows and columns outside have norm 0."""
    zeros = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    if RESIDENT:  # the rows' features fit in shared memory: they are loaded once for all tiles
        b_hi, b_lo = load_halves(hi, lo, columns, column_in, 0, width, BK, MASKED)
        dots = add_dots(a_hi, a_lo, b_hi, b_lo, zeros)
    else:
        dots = zeros
        for start in range(0, width, BK):
            a_hi, a_lo = load_halves(hi, lo, rows, row_in, start, width, BK, True)
            b_hi, b_lo = load_halves(hi, lo, columns, column_in, start, width, BK, MASKED)
            # Each run of features is summed by itself: what matrix units cut off then stays in proportion to that run,
            # and runs are added with rounding to nearest.
            dots += -2.0 * add_dots(a_hi, a_lo, b_hi, b_lo, zeros)
    if MASKED:
        norm_columns = tl.load(norm + columns, mask=column_in, other=0.0)
    else:
        norm_columns = tl.load(norm + columns)
    norms = norm_rows[:, None] + norm_columns[None, :]
    return norms + dots, norms


@triton.jit
def _squared_differences(raw, rows, row_in, columns, column_in, n_features, scale):
    """Squared distances of a tile from the values as given: slow, and right however close two cells are."""
    squared = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for k in tl.range(0, n_features, num_stages=1):
        x = tl.load(raw + rows.to(tl.int64) * n_features + k, mask=row_in, other=0.0)
        y = tl.load(raw + columns.to(tl.int64) * n_features + k, mask=column_in, other=0.0)
        difference = (x[:, None] - y[None, :]) * scale
        squared += difference * difference
    return squared


@triton.jit
def _counts(rows, columns, column_in, within):
    """Which pairs of a tile count: within a group the upper triangle, whose mirror image the lower one is."""
    return column_in[None, :] & ((columns[None, :] > rows[:, None]) | (within == 0))


@triton.jit
def _doubtful(limits, total, error, row_in):
    """Whether rounding could have spoilt this task's sum: see `_kernels.limit`. NaN is doubtful."""
    limit = tl.load(limits + tl.program_id(0))
    total = tl.sum(tl.where(row_in, total, 0.0), 0)
    return not (tl.sum(tl.where(row_in, error, 0.0), 0) <= limit * total)


@triton.jit
def _where(index, positions, inside, GATHER: tl.constexpr):
    """Rows of the points at some positions of the groups' order."""
    if GATHER:
        positions = tl.load(index + positions, mask=inside, other=0)
    return positions


@triton.jit
def _task(tasks):
    """First row, end of its group, first column, number of columns, and whether the rectangle is within a group."""
    at = tasks + 5 * tl.program_id(0)
    row, row_stop, column, column_stop, within = (
        tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3), tl.load(at + 4)
    )  # fmt: skip
    if within != 0:
        column = tl.maximum(column, row)
    return row, row_stop, column, tl.maximum(column_stop - column, 0), within


@triton.jit(do_not_specialize=["width_blocks", "n_features"])
def block_kernel(
    hi,  # (n, width_blocks · BK) float16
    lo,  # (n, width_blocks · BK) float16
    norm,  # (n,) float32
    raw,  # (n, n_features) float32
    tasks,  # (t, 5) int32: row, end of its group, column, end of the columns, whether within one group
    limits,  # (t,) float32: the largest sum of slope · norms to trust, as a multiple of the sum of κ
    index,  # (n',) int32, where the cells are; read only with GATHER
    out,  # (t,) float64
    width_blocks,
    n_features,
    scale,
    gamma,
    KAPPA: tl.constexpr,
    RESIDENT: tl.constexpr,
    GATHER: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """``Σ_i Σ_j κ(x_i, x_j)`` over the rectangle of one task."""
    width = width_blocks * BK  # a multiple that the compiler can see: wide, asynchronous loads
    row, row_stop, column, n_columns, within = _task(tasks)
    rows = row + tl.arange(0, BM)
    row_in = rows < row_stop
    x = _where(index, rows, row_in, GATHER)
    norm_rows = tl.load(norm + x, mask=row_in, other=0.0)
    a_hi, a_lo = load_halves(hi, lo, x, row_in, 0, width, BK, True)
    a_hi *= -2.0  # exact
    a_lo *= -2.0
    total = tl.zeros([BM], tl.float32)
    error = tl.zeros([BM], tl.float32)
    # Whole tiles need no mask between two groups; the last tile, and any tile within a group, does.
    whole = tl.where(within != 0, 0, n_columns // BN * BN)
    for start in range(0, whole, BN):
        columns = column + start + tl.arange(0, BN)
        y = _where(index, columns, columns >= 0, GATHER)
        squared, norms = _squared_distances(
            hi, lo, norm, x, row_in, norm_rows, a_hi, a_lo, y, row_in, width, False, RESIDENT, BK
        )
        value, slope = KAPPA(squared, gamma)
        total += tl.sum(value, 1)
        error += tl.sum(slope * norms, 1)
    for start in tl.range(whole, n_columns, BN, num_stages=1):
        columns = column + start + tl.arange(0, BN)
        column_in = columns < column + n_columns
        y = _where(index, columns, column_in, GATHER)
        squared, norms = _squared_distances(
            hi, lo, norm, x, row_in, norm_rows, a_hi, a_lo, y, column_in, width, True, RESIDENT, BK
        )
        counts = _counts(rows, columns, column_in, within)
        value, slope = KAPPA(squared, gamma)
        total += tl.sum(tl.where(counts, value, 0.0), 1)
        error += tl.sum(tl.where(counts, slope * norms, 0.0), 1)

    if _doubtful(limits, total, error, row_in):
        total = tl.zeros([BM], tl.float32)
        for start in tl.range(0, n_columns, 16, num_stages=1):  # few registers: this path must not slow the other
            columns = column + start + tl.arange(0, 16)
            column_in = columns < column + n_columns
            y = _where(index, columns, column_in, GATHER)
            squared = _squared_differences(raw, x, row_in, y, column_in, n_features, scale)
            counts = _counts(rows, columns, column_in, within)
            value, _ = KAPPA(squared, gamma)
            total += tl.sum(tl.where(counts, value, 0.0), 1)
    tl.store(out + tl.program_id(0), tl.sum(tl.where(row_in, total, 0.0).to(tl.float64), 0))


@triton.jit
def _times_weights(values, shrink, weights, columns, column_in, replicates, n_replicates):
    """``Σ_j κ[i, j] w[j, r]``: κ as two fp16 halves, the weights small integers that fp16 holds exactly."""
    at = columns[:, None].to(tl.int64) * n_replicates + replicates[None, :]
    w = tl.load(weights + at, mask=column_in[:, None], other=0.0)
    values *= shrink
    upper = values.to(tl.float16)
    lower = (values - upper.to(tl.float32)).to(tl.float16)
    return tl.dot(upper, w, tl.dot(lower, w))


@triton.jit(do_not_specialize=["width_blocks", "n_features", "replicate_blocks"])
def weighted_block_kernel(
    hi,
    lo,
    norm,
    raw,
    tasks,
    limits,
    weights,  # (n, replicate_blocks · BR) float16
    out,  # (t, replicate_blocks · BR) float64
    width_blocks,
    n_features,
    replicate_blocks,
    scale,
    gamma,
    shrink,
    KAPPA: tl.constexpr,
    RESIDENT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BR: tl.constexpr,
):
    """``Σ_i Σ_j w[i, r] κ(x_i, x_j) w[j, r]`` over the rectangle of one task, for a block of replicates."""
    width = width_blocks * BK
    n_replicates = replicate_blocks * BR
    row, row_stop, column, n_columns, within = _task(tasks)
    rows = row + tl.arange(0, BM)
    row_in = rows < row_stop
    replicates = tl.program_id(1) * BR + tl.arange(0, BR)
    norm_rows = tl.load(norm + rows, mask=row_in, other=0.0)
    a_hi, a_lo = load_halves(hi, lo, rows, row_in, 0, width, BK, True)
    a_hi *= -2.0
    a_lo *= -2.0
    total = tl.zeros([BM, BR], tl.float32)
    plain = tl.zeros([BM], tl.float32)
    error = tl.zeros([BM], tl.float32)
    for start in range(0, n_columns, BN):
        columns = column + start + tl.arange(0, BN)
        column_in = columns < column + n_columns
        squared, norms = _squared_distances(
            hi, lo, norm, rows, row_in, norm_rows, a_hi, a_lo, columns, column_in, width, True, RESIDENT, BK
        )
        counts = _counts(rows, columns, column_in, within)
        value, slope = KAPPA(squared, gamma)
        values = tl.where(counts, value, 0.0)
        plain += tl.sum(values, 1)
        error += tl.sum(tl.where(counts, slope * norms, 0.0), 1)
        total += _times_weights(values, shrink, weights, columns, column_in, replicates, n_replicates)

    if _doubtful(limits, plain, error, row_in):
        total = tl.zeros([BM, BR], tl.float32)
        for start in tl.range(0, n_columns, 16, num_stages=1):  # few registers: this path must not slow the other
            columns = column + start + tl.arange(0, 16)
            column_in = columns < column + n_columns
            squared = _squared_differences(raw, rows, row_in, columns, column_in, n_features, scale)
            counts = _counts(rows, columns, column_in, within)
            value, _ = KAPPA(squared, gamma)
            values = tl.where(counts & row_in[:, None], value, 0.0)  # rows outside lie at 0: too far for fp16
            total += _times_weights(values, shrink, weights, columns, column_in, replicates, n_replicates)

    at = rows[:, None].to(tl.int64) * n_replicates + replicates[None, :]
    w = tl.load(weights + at, mask=row_in[:, None], other=0.0).to(tl.float32)
    tl.store(out + tl.program_id(0).to(tl.int64) * n_replicates + replicates, tl.sum((total * w).to(tl.float64), 0))
