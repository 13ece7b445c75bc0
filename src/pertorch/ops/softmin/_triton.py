"""Potentials in Triton: tiles of float32-grade scores from three fp16 products, made, folded and forgotten.

All problems of a batch are in one launch per half step, whatever their sizes, and a problem's bits do not depend on the
others: its sums are added up in an order of their own.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.segment import expand
from pertorch.ops.softmin import _programs
from pertorch.ops.softmin._problems import Errors, Points

MOST_FEATURES = 128  # whose halves a program holds whole; beyond, exponentials are stored (_torch.py)
LN2 = math.log(2)
BM, BN, WARPS, STAGES = 128, 64, 4, 2  # tile, and who works on it
BLOCK = 1024  # potentials that are added up at once
SLAB = 2**18  # rows converted at once: bounds the float64 copies
NUMBERS = 2**30  # of all tiles that a batch has at most: a tile has 42 a potential, at least
ROWS, COLUMNS = 0, 3  # where the places of a problem say of them


def supports(points: Tensor) -> bool:
    """Whether the programs compute this: single precision on a GPU, few features."""
    return points.is_cuda and points.dtype == torch.float32 and points.shape[1] <= MOST_FEATURES


@final
class Streamed:
    """See :func:`pertorch.ops.softmin.engine`: the points as two fp16 halves, 22 bits, each cloud at its own scale."""

    def __init__(self, points: Points) -> None:
        self.points, coordinates = points, points.coordinates
        (n, d), sizes = coordinates.shape, points.offsets.diff()
        cloud = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes, output_size=n)
        largest = torch.zeros(len(sizes), device=sizes.device)
        largest.scatter_reduce_(0, cloud, coordinates.abs().amax(1), "amax")
        # a power of two that brings the largest coordinate to 2¹² or less, where neither half over- nor underflows
        self.scale = torch.where(largest > 0, torch.exp2(12 - torch.frexp(largest.double()).exponent), 1.0)
        self.hi = torch.zeros(n, max(16, 1 << (d - 1).bit_length()), dtype=torch.float16, device=sizes.device)
        self.lo = torch.zeros_like(self.hi)
        for start in range(0, n, SLAB):
            rows = slice(start, start + SLAB)
            scaled = coordinates[rows] * self.scale[cloud[rows], None].float()
            self.hi[rows, :d] = scaled.half()
            self.lo[rows, :d] = (scaled - self.hi[rows, :d]).half()

    def __call__(self, left: Tensor, right: Tensor, scale: Tensor, *, twins: bool) -> _Batch:
        """See :class:`Engine`."""
        return _Batch(self, left, right, scale, twins)

    def batches(self, rows: Tensor, columns: Tensor, shares: int) -> list[Tensor]:
        """See :class:`Engine`: all at once, as memory allows, in as many parts of like cost as there are shares."""
        tiles = (-(-rows // BM) * BM * (-(-columns // BN) * BN)).double()
        order = torch.argsort(tiles, descending=True, stable=True)
        tiles = tiles[order]
        total = float(tiles.sum())
        number = shares * math.ceil(total / (shares * NUMBERS))
        part = ((tiles.cumsum(0) - tiles / 2) * (number / total)).long()
        return list(order.split(torch.unique_consecutive(part, return_counts=True)[1].tolist()))


@final
class _Side(NamedTuple):
    """Potentials of one side of all problems, end to end; see `_programs.half_step_kernel`."""

    potential: Tensor
    exponent: Tensor
    gap: Tensor

    @classmethod
    def of(cls, potential: Tensor) -> _Side:
        return cls(potential, torch.empty_like(potential, dtype=torch.float32), torch.zeros_like(potential))


@final
class _Batch:
    """See :class:`Potentials`."""

    shrink: ClassVar[float] = 0.6  # little is copied, but the device waits while the host cuts the tasks

    def __init__(self, engine: Streamed, left: Tensor, right: Tensor, scale: Tensor, twins: bool) -> None:
        self.engine, self.twins, self.found, points = engine, twins, False, engine.points
        (row_start, n), (column_start, m) = points.places(left), points.places(right)
        self.places = torch.stack([row_start, n, n.cumsum(0) - n, column_start, m, m.cumsum(0) - m], 1)
        self.scale = (scale / (engine.scale[left] * engine.scale[right] * LN2)).float()
        self.still = torch.zeros_like(scale)  # ω of a step that only finds the gap
        self.sizes = {ROWS: n.cpu(), COLUMNS: m.cpu()}
        index, problem = expand(row_start, n)
        self.alpha = _Side.of(points.norm[index] * (scale / -2)[problem])
        beta = self.alpha.potential if twins else self.alpha.potential.new_zeros(int(self.sizes[COLUMNS].sum()))
        self.beta = self.alpha._replace(gap=torch.zeros_like(beta)) if twins else _Side.of(beta)
        self._cut()
        self._move(ROWS, self.still)

    def look(self) -> Errors:
        """See :class:`Potentials`."""
        self._half_step(COLUMNS, self.still)
        self.found = True
        return Errors(*self._errors().T.contiguous())

    def step(self, omega: Tensor, times: int = 1) -> None:
        """See :class:`Potentials`."""
        omega = (torch.full_like(omega, 0.5) if self.twins else omega).to(self.still.device)
        for _ in range(times):
            if self.twins and not self.found:
                self._half_step(COLUMNS, self.still)
            (self._move if self.found or self.twins else self._half_step)(COLUMNS, omega)
            if not self.twins:
                self._half_step(ROWS, omega)
            self.found = False

    def value(self) -> Tensor:
        """See :class:`Potentials`."""
        return self._errors()[:, 2]

    def take(self, kept: Tensor) -> None:
        """See :class:`Potentials`: the potentials stay where they are."""
        self.sizes = {side: sizes[kept] for side, sizes in self.sizes.items()}
        kept = kept.to(self.still.device)
        self.places, self.scale, self.still = self.places[kept], self.scale[kept], self.still[kept]
        self._cut()

    def _cut(self) -> None:
        """Tasks of the launches that move the rows' potentials, and the columns'."""
        self.tasks = {}
        for side, sizes in self.sizes.items():
            block, problem = expand(torch.zeros_like(sizes), -(-sizes // BM))
            self.tasks[side] = torch.stack([problem, block], 1).int().to(self.still.device)

    def _half_step(self, side: int, omega: Tensor) -> None:
        hi, lo = self.engine.hi, self.engine.lo
        source, moved = (self.beta, self.alpha) if side == ROWS else (self.alpha, self.beta)
        self._launch(
            _programs.half_step_kernel, len(self.tasks[side]), hi, lo, self.engine.points.log_weight, self.places,
            self.tasks[side], self.scale, omega, source.exponent, *moved, side,
            WIDTH=hi.shape[1], BM=BM, BN=BN, num_warps=WARPS, num_stages=STAGES,
        )  # fmt: skip

    def _move(self, side: int, omega: Tensor) -> None:
        self._launch(
            _programs.move_kernel, len(self.tasks[side]), self.engine.points.log_weight, self.places, self.tasks[side],
            omega, *(self.alpha if side == ROWS else self.beta), side, BM=BM,
        )  # fmt: skip

    def _errors(self) -> Tensor:
        """`Errors` as columns, on the CPU."""
        out = self.still.new_empty(len(self.still), 3)
        self._launch(
            _programs.errors_kernel, len(out), self.engine.points.log_weight, self.places, self.alpha.potential,
            self.alpha.gap, self.beta.potential, self.beta.gap, out, BLOCK=BLOCK,
        )  # fmt: skip
        return out.cpu()

    def _launch(self, program: Any, n_programs: int, *args: Any, **options: Any) -> None:
        with current_device(self.scale.device):
            program[(n_programs,)](*args, **options)
