"""Soft minima in Triton: tiles of float32-grade scores from three fp16 products, made, folded and forgotten."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import final

import torch
from torch import Tensor

from pertorch.ops.softmin import _programs
from pertorch.ops.softmin._problems import Side, Softmin

MOST_FEATURES = 128  # whose halves a program holds whole; beyond, exponentials are stored (_torch.py)
LN2 = math.log(2)
TILE = (128, 64)
SLAB = 2**18  # rows converted at once: bounds the float64 copies


def supports(points: Tensor) -> bool:
    """Whether the program computes this: single precision on a GPU, few features."""
    return points.is_cuda and points.dtype == torch.float32 and points.shape[1] <= MOST_FEATURES


@final
class Streamed:
    """See :func:`pertorch.ops.softmin.engine`: the points as two fp16 halves, 22 bits, each cloud at its own scale."""

    def __init__(self, points: Tensor, offsets: Tensor) -> None:
        n, d = points.shape
        sizes = offsets.diff()
        cloud = torch.repeat_interleave(torch.arange(len(sizes), device=points.device), sizes, output_size=n)
        largest = torch.zeros(len(sizes), device=points.device)
        largest.scatter_reduce_(0, cloud, points.abs().amax(1), "amax")
        # a power of two that brings the largest coordinate to 2¹² or less, where neither half over- nor underflows
        self.scale = torch.where(largest > 0, torch.exp2(12 - torch.frexp(largest.double()).exponent), 1.0)
        self.hi = torch.zeros(n, max(16, 1 << (d - 1).bit_length()), dtype=torch.float16, device=points.device)
        self.lo = torch.zeros_like(self.hi)
        for start in range(0, n, SLAB):
            rows = slice(start, start + SLAB)
            scaled = points[rows] * self.scale[cloud[rows], None].float()
            self.hi[rows, :d] = scaled.half()
            self.lo[rows, :d] = (scaled - self.hi[rows, :d]).half()

    def __call__(self, left: Side, right: Side, scale: Tensor) -> Softmin:
        """See :class:`Engine`."""
        per_product = scale / (self.scale[left.cloud] * self.scale[right.cloud] * LN2)
        left, right = (side._replace(log_weight=side.log_weight / LN2) for side in (left, right))
        return _Batch(self, left, right, per_product.float())

    def largest_batch(self, total: int) -> int:
        """See :class:`Engine`: all of them, padding included."""
        del total
        return 2**62


@final
class _Batch:
    """Soft minima of one batch, whose weights are powers of 2."""

    def __init__(self, points: Streamed, left: Side, right: Side, scale: Tensor) -> None:
        self.points, self.left, self.right, self.scale = points, left, right, scale

    def columns(self, alpha: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        return self._fold(self.right, self.left, alpha)

    def rows(self, beta: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        return self._fold(self.left, self.right, beta)

    def take(self, kept: Tensor) -> Softmin:
        """See :class:`Softmin`."""
        return _Batch(self.points, self.left.take(kept), self.right.take(kept), self.scale[kept])

    def _fold(self, rows: Side, columns: Side, potential: Tensor) -> Tensor:
        n_problems, most_rows = rows.log_weight.shape
        out = torch.zeros(n_problems, most_rows, device=potential.device)
        added = torch.add(columns.log_weight, potential, alpha=1 / LN2).float()
        with torch.cuda.device(out.device) if out.is_cuda else nullcontext():
            _programs.softmin_kernel[(-(-most_rows // TILE[0]), n_problems)](
                self.points.hi,
                self.points.lo,
                rows.start,
                rows.size,
                columns.start,
                columns.size,
                self.scale,
                added,
                out,
                most_rows,
                added.shape[1],
                WIDTH=self.points.hi.shape[1],
                BM=TILE[0],
                BN=TILE[1],
                num_warps=4,
                num_stages=2,
            )
        return out.double().mul_(-LN2)
