"""Block sums in Triton: float32-grade distances from three fp16 products on the matrix units.

The README beside this file derives the split, its error and the schedule. Twin of ``_torch.block_sums``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.pairwise import _programs
from pertorch.ops.pairwise._kernels import Kernel, limit
from pertorch.ops.pairwise._schedule import MOST_TASKS, Tasks, block_cost, cut_tasks
from pertorch.ops.pairwise._split import Halves, split

# Matrix units round towards 0, by up to 1e-6 of the norms: ten times BLAS, hence a tenth of its limit. Part of that is
# alike in all cells and no mean over them takes it away: whatever the size of a group, the error summed beside a block
# may be at most this many times its sum.
BIASED = 6.0


@final
class _Kappa(NamedTuple):
    """κ as a device function of scaled squared distances, and how its values scale.

    `power` is that of the points' scale in κ, `shrink` brings κ into the range of fp16, `at_zero` is κ(x, x).
    """

    function: Any
    power: int = 0
    shrink: float = 1.0
    at_zero: float = 0.0


KAPPA = {
    "euclidean": _Kappa(_programs.euclidean, power=1),
    "sqeuclidean": _Kappa(_programs.sqeuclidean, power=2, shrink=2.0**-14),
    "rbf": _Kappa(_programs.rbf, shrink=2.0**14, at_zero=1.0),
}


def supports(points: Tensor, kernel: Kernel) -> bool:
    """Whether the programs compute this: single precision on a GPU, κ of the distance."""
    return points.is_cuda and points.dtype == torch.float32 and kernel.name in KAPPA


def block_sums(
    points: Tensor,
    offsets: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    kernel: Kernel,
    weights: Tensor | None = None,
    index: Tensor | None = None,
    tick: Callable[[int], object] | None = None,
) -> Tensor:
    """See :func:`pertorch.ops.pairwise.block_sums`.

    Where `index` is given, shape ``(n',)``, int64, the groups are runs of ``points[index]``; only without `weights`.
    """
    device, n_replicates = points.device, 1 if weights is None else weights.shape[1]
    data = split(points)
    launch = _Plain(data, kernel, offsets, index) if weights is None else _Weighted(data, kernel, weights)
    offsets, left, right = offsets.to(device), left.to(device), right.to(device)
    # The smaller group gives the rows: few programs with many columns each, not many with few.
    swap = offsets.diff()[left] > offsets.diff()[right]
    left, right = torch.where(swap, right, left), torch.where(swap, left, right)
    total = torch.zeros(len(left), n_replicates, dtype=torch.float64, device=device)
    with current_device(device):
        for tasks in cut_tasks(offsets, left, right, *launch.tile, launch.most):
            # within a group the programs add up one triangle, without its diagonal
            within = (left[tasks.which] == right[tasks.which])[:, None]
            sums = launch(tasks)
            both = 2 * sums + launch.at_zero(offsets, left[tasks.which])
            total[tasks.which] = torch.where(within, both, sums)[:, :n_replicates]
            if tick:
                tick(int(block_cost(offsets, left[tasks.which], right[tasks.which]).sum()))
    return total


def within_sums(points: Tensor, subsets: Sequence[Tensor], *, kernel: Kernel) -> list[Tensor]:
    """See :func:`pertorch.ops.pairwise.within_sums`: all subsets at once, none of them made whole."""
    counts = [len(rows) for rows in subsets]
    sizes = torch.repeat_interleave(torch.tensor([rows.shape[1] for rows in subsets]), torch.tensor(counts))
    offsets, each = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]), torch.arange(len(sizes))
    index = torch.cat([rows.flatten() for rows in subsets])
    return list(block_sums(points, offsets, each, each, kernel=kernel, index=index)[:, 0].split(counts))


class _Launch:
    """What both programs are given, and the sums of their tasks."""

    tile: tuple[int, int]
    most: int

    def __init__(self, data: Halves, kernel: Kernel) -> None:
        self.data, self.kernel, self.kappa = data, kernel, KAPPA[kernel.name]
        width = data.hi.shape[1]
        self.block = min(64, width)
        self.width_blocks = width // self.block
        self.unscale = data.scale**-self.kappa.power

    def operands(self, tasks: Tasks) -> tuple[Tensor, ...]:
        """The arguments with which both programs begin: points, tasks, and how much error each may have."""
        limits = (0.1 * limit(tasks.smaller.float())).clamp_(max=BIASED)
        return self.data.hi, self.data.lo, self.data.norm, self.data.raw, tasks.spans, limits

    def add(self, out: Tensor, tasks: Tasks) -> Tensor:
        """Sum the tasks of each pair of groups, in a fixed order: no atomics."""
        # `unsafe` spares a check of lengths that were made to fit, for which the host would wait
        return torch.segment_reduce(out, "sum", lengths=tasks.counts, axis=0, unsafe=True) * self.unscale


@final
class _Plain(_Launch):
    """Each cell counts once."""

    most = MOST_TASKS

    def __init__(self, data: Halves, kernel: Kernel, offsets: Tensor, index: Tensor | None) -> None:
        super().__init__(data, kernel)
        self.index = None if index is None else index.int()
        self.launch: dict[str, Any]
        if self.width_blocks > 1:
            # H100, 5,000 features: rows and columns come from memory for every tile, so that a large one pays. 1.1
            # times as fast as 128 × 64 with eight warps, 1.3 to 1.5 times as fast as with two stages or four warps.
            self.tile, self.launch = (128, 128), {"num_warps": 8, "num_stages": 3}
            return
        # H100: 128 rows against 64 columns, two stages and 128 registers put three programs on a multiprocessor, so
        # that one's roots hide another's products. 64 rows are 1.17 times as slow a row, but waste less of a group.
        sizes = offsets.diff()
        padded = {rows: int((-(-sizes // rows) * rows).sum()) for rows in (64, 128)}
        self.tile = (64 if 1.17 * padded[64] < padded[128] else 128, 64)
        self.launch = {"num_warps": 4, "num_stages": 2, "maxnreg": 128}

    def __call__(self, tasks: Tasks) -> Tensor:
        out = torch.empty(len(tasks.spans), dtype=torch.float64, device=self.data.hi.device)
        _programs.block_kernel[(len(out),)](
            *self.operands(tasks),
            tasks.spans if self.index is None else self.index,
            out,
            self.width_blocks,
            self.data.raw.shape[1],
            self.data.scale,
            self.kernel.gamma * self.data.scale**-2,
            KAPPA=self.kappa.function,
            RESIDENT=self.width_blocks == 1,
            GATHER=self.index is not None,
            BM=self.tile[0],
            BN=self.tile[1],
            BK=self.block,
            **self.launch,
        )
        return self.add(out, tasks)[:, None]

    def at_zero(self, offsets: Tensor, groups: Tensor) -> Tensor:
        """``Σ_i κ(x_i, x_i)`` of each group."""
        if not self.kappa.at_zero:
            return self.data.norm.new_zeros((), dtype=torch.float64)
        return self.kappa.at_zero * offsets.diff()[groups].double()[:, None]


@final
class _Weighted(_Launch):
    """Each cell counts as its weight says, in each replicate."""

    tile = (64, 32)  # H100: 1.05 to 1.2 times as fast as four other shapes
    warps = 4
    stages = 2

    def __init__(self, data: Halves, kernel: Kernel, weights: Tensor) -> None:
        super().__init__(data, kernel)
        n, r = weights.shape
        self.replicates = next((b for b in (16, 32, 64) if r <= b), 128)
        blocks = -(-r // self.replicates)
        self.weights = torch.zeros(n, blocks * self.replicates, dtype=torch.float16, device=weights.device)
        self.weights[:, :r] = weights
        self.most = MOST_TASKS // (8 * blocks)

    def __call__(self, tasks: Tasks) -> Tensor:
        blocks = self.weights.shape[1] // self.replicates
        out = torch.empty(len(tasks.spans), self.weights.shape[1], dtype=torch.float64, device=self.data.hi.device)
        _programs.weighted_block_kernel[(len(out), blocks)](
            *self.operands(tasks),
            self.weights,
            out,
            self.width_blocks,
            self.data.raw.shape[1],
            blocks,
            self.data.scale,
            self.kernel.gamma * self.data.scale**-2,
            self.kappa.shrink,
            KAPPA=self.kappa.function,
            RESIDENT=self.width_blocks == 1,
            BM=self.tile[0],
            BN=self.tile[1],
            BK=self.block,
            BR=self.replicates,
            num_warps=self.warps,
            num_stages=self.stages,
        )
        return self.add(out, tasks) / self.kappa.shrink

    def at_zero(self, offsets: Tensor, groups: Tensor) -> Tensor:
        """``Σ_i w_i² κ(x_i, x_i)`` of each group."""
        if not self.kappa.at_zero:
            return self.weights.new_zeros((), dtype=torch.float64)
        squares = torch.segment_reduce(self.weights.double().square_(), "sum", lengths=offsets.diff(), axis=0)
        return self.kappa.at_zero * squares[groups]
