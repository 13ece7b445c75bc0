"""Block sums in Triton: float32-grade distances from three fp16 products on the matrix units.

The README beside this file derives the split, its error and the schedule. Twin of ``_torch.block_sums``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from pertorch.ops.pairwise._kernels import Kernel
from pertorch.ops.pairwise._schedule import Tasks, cut_tasks
from pertorch.ops.pairwise._split import Halves, split


@triton.jit
def _euclidean(squared):
    return tl.sqrt(tl.abs(squared))


@triton.jit
def _sqeuclidean(squared):
    return squared


# κ of the squared distance, and the power of the scale that it carries
KAPPA = {"euclidean": (_euclidean, 1), "sqeuclidean": (_sqeuclidean, 2)}


@triton.jit
def _add_dots(a_hi, a_lo, b_hi, b_lo, acc):
    """``acc + a · bᵀ`` to float32's precision: the fourth product, lo · lo, is below it."""
    acc = tl.dot(a_hi, tl.trans(b_hi), acc)
    acc = tl.dot(a_hi, tl.trans(b_lo), acc)
    return tl.dot(a_lo, tl.trans(b_hi), acc)


@triton.jit
def _load_halves(hi, lo, rows, inside, start, width, BK: tl.constexpr, MASKED: tl.constexpr):
    """Features ``start : start + BK`` of some rows; rows outside are 0."""
    at = rows[:, None].to(tl.int64) * width + (start + tl.arange(0, BK))[None, :]
    if MASKED:
        return tl.load(hi + at, mask=inside[:, None], other=0.0), tl.load(lo + at, mask=inside[:, None], other=0.0)
    return tl.load(hi + at), tl.load(lo + at)


@triton.jit
def _counts(rows, columns, column_in, within):
    """Which pairs of a tile count: within a group the upper triangle, whose mirror image the lower one is."""
    return column_in[None, :] & ((columns[None, :] > rows[:, None]) | (within == 0))


@triton.jit
def _add_tile(
    total,
    worst,
    hi,
    lo,
    norm,
    rows,
    row_in,
    norm_rows,
    a_hi,
    a_lo,
    columns,
    column_in,
    trust,
    width,
    within,
    KAPPA: tl.constexpr,
    MASKED: tl.constexpr,
    RESIDENT: tl.constexpr,
    BK: tl.constexpr,
):
    """Add κ of one tile to each row's total, and keep each row's least trusted ``d² − trust · (|x|² + |y|²)``."""
    dots = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    if RESIDENT:  # the rows' features fit in shared memory: they are loaded once for all tiles
        b_hi, b_lo = _load_halves(hi, lo, columns, column_in, 0, width, BK, MASKED)
        dots = _add_dots(a_hi, a_lo, b_hi, b_lo, dots)
    else:
        for start in range(0, width, BK):
            a_hi, a_lo = _load_halves(hi, lo, rows, row_in, start, width, BK, True)
            b_hi, b_lo = _load_halves(hi, lo, columns, column_in, start, width, BK, MASKED)
            dots = _add_dots(a_hi * -2.0, a_lo * -2.0, b_hi, b_lo, dots)
    if MASKED:
        norm_columns = tl.load(norm + columns, mask=column_in, other=0.0)
    else:
        norm_columns = tl.load(norm + columns)
    norms = norm_rows[:, None] + norm_columns[None, :]
    squared = norms + dots
    margin = squared - trust * norms
    value = KAPPA(squared)  # of a negative number, too, for which `margin` has the tile computed again
    if MASKED:
        counts = _counts(rows, columns, column_in, within)
        margin = tl.where(counts, margin, float("inf"))
        value = tl.where(counts, value, 0.0)
    return total + tl.sum(value, 1), tl.minimum(worst, tl.min(margin, 1))


@triton.jit
def _add_tile_exactly(total, raw, rows, row_in, columns, column_in, n_features, scale, within, KAPPA: tl.constexpr):
    """Add κ of one tile, from differences of the values as given: slow, and right however close two cells are."""
    squared = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for k in range(n_features):
        x = tl.load(raw + rows.to(tl.int64) * n_features + k, mask=row_in, other=0.0)
        y = tl.load(raw + columns.to(tl.int64) * n_features + k, mask=column_in, other=0.0)
        difference = (x[:, None] - y[None, :]) * scale
        squared += difference * difference
    counts = _counts(rows, columns, column_in, within)
    return total + tl.sum(tl.where(counts, KAPPA(squared), 0.0), 1)


@triton.jit(do_not_specialize=["width_blocks", "n_features", "within"])
def _block_kernel(
    hi,  # (n, width_blocks · BK) float16
    lo,  # (n, width_blocks · BK) float16
    norm,  # (n,) float32
    raw,  # (n, n_features) float32
    tasks,  # (t, 4) int32: row, end of its group, column, end of the columns
    trusts,  # (t,) float32
    out,  # (t,) float64
    width_blocks,
    n_features,
    scale,
    within,
    KAPPA: tl.constexpr,
    RESIDENT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    task = tl.program_id(0)
    width = width_blocks * BK  # a multiple that the compiler can see: wide, asynchronous loads
    row, row_stop = tl.load(tasks + 4 * task), tl.load(tasks + 4 * task + 1)
    column, column_stop = tl.load(tasks + 4 * task + 2), tl.load(tasks + 4 * task + 3)
    trust = tl.load(trusts + task)
    if within != 0:
        column = tl.maximum(column, row)

    rows = row + tl.arange(0, BM)
    row_in = rows < row_stop
    norm_rows = tl.load(norm + rows, mask=row_in, other=0.0)
    a_hi, a_lo = _load_halves(hi, lo, rows, row_in, 0, width, BK, True)
    a_hi *= -2.0  # exact; and what is computed stays in registers, where the matrix units read it for nothing
    a_lo *= -2.0
    total = tl.zeros([BM], tl.float32)
    worst = tl.full([BM], float("inf"), tl.float32)
    # Whole tiles need no mask between two groups; the last tile, and any tile within a group, does.
    n_columns = tl.maximum(column_stop - column, 0)
    whole = tl.where(within != 0, 0, n_columns // BN * BN)
    for start in range(0, whole, BN):
        columns = column + start + tl.arange(0, BN)
        total, worst = _add_tile(
            total, worst, hi, lo, norm, rows, row_in, norm_rows, a_hi, a_lo, columns, columns < column_stop,
            trust, width, within, KAPPA, False, RESIDENT, BK,
        )  # fmt: skip
    for start in range(whole, n_columns, BN):
        columns = column + start + tl.arange(0, BN)
        total, worst = _add_tile(
            total, worst, hi, lo, norm, rows, row_in, norm_rows, a_hi, a_lo, columns, columns < column_stop,
            trust, width, within, KAPPA, True, RESIDENT, BK,
        )  # fmt: skip

    if tl.min(worst, 0) < 0:
        total = tl.zeros([BM], tl.float32)
        for start in range(0, n_columns, BN):
            columns = column + start + tl.arange(0, BN)
            total = _add_tile_exactly(
                total, raw, rows, row_in, columns, columns < column_stop, n_features, scale, within, KAPPA
            )
    tl.store(out + task, tl.sum(tl.where(row_in, total, 0.0).to(tl.float64), 0))


def block_sums(
    points: Tensor,
    offsets: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    kernel: Kernel,
    weights: Tensor | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """See :func:`pertorch.ops.pairwise.block_sums`."""
    total = torch.zeros(len(left), 1, dtype=torch.float64)
    data = split(points)
    shape = _shape(float(offsets.diff().double().median()))
    with torch.cuda.device(points.device) if points.is_cuda else nullcontext():
        for within in (False, True):
            chosen = torch.nonzero((left == right) == within)[:, 0]
            for pairs in cut_tasks(offsets, left[chosen], right[chosen], *shape[:2], points.device):
                sums = _launch(data, pairs, kernel, within, *shape)
                total[chosen[pairs.which], 0] = sums.cpu()
                tick(pairs.n_cell_pairs // (2 if within else 1))
    return total


def _shape(typical: float) -> tuple[int, int, int, int]:
    """Rows and columns of a tile, warps and pipeline stages, by the typical size of a group."""
    return (128, 64, 4, 2) if typical > 96 else (64, 64, 4, 2)


def _launch(
    data: Halves, tasks: Tasks, kernel: Kernel, within: bool, bm: int, bn: int, warps: int, stages: int
) -> Tensor:
    kappa, power = KAPPA[kernel]
    width = data.hi.shape[1]
    bk = min(64, width)
    out = torch.empty(len(tasks.spans), dtype=torch.float64, device=data.hi.device)
    _block_kernel[(len(out),)](
        data.hi,
        data.lo,
        data.norm,
        data.raw,
        tasks.spans,
        tasks.trust,
        out,
        width // bk,
        data.raw.shape[1],
        data.scale,
        int(within),
        KAPPA=kappa,
        RESIDENT=width == bk,
        BM=bm,
        BN=bn,
        BK=bk,
        num_warps=warps,
        num_stages=stages,
        maxnreg=128,
    )
    # one segment a pair of groups, added in a fixed order: no atomics
    sums = torch.segment_reduce(out, "sum", lengths=tasks.counts)
    return sums * ((2 if within else 1) * data.scale**-power)
