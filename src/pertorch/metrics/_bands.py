"""Block sums over more cells than may be dense at once, here or as tasks of Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import TASKS, compute_tasks, memory_budget, own_device, steps, task
from pertorch.ops.pairwise import COPIES, Kernel, block_cost, block_sums, cut_tiles, tile_pairs
from pertorch.ops.segment import batches

if TYPE_CHECKING:
    from pertorch.data import Cells
    from pertorch.stats import Columns

WEIGHTS = 12  # bytes that a weight takes: as drawn, joined, and beside what it is drawn from
Tick = Callable[[int], object] | None


@final
class Points(NamedTuple):
    """Cells of a band, or of two of them, as κ takes them, and their weights."""

    rows: Tensor
    weights: Tensor | None

    def copy(self) -> Points:
        """The same, in memory of their own."""
        return Points(self.rows.clone(), None if self.weights is None else self.weights.clone())

    def split(self, sizes: list[int]) -> list[Points]:
        """Views of successive cells."""
        none = [None] * len(sizes)
        return list(map(Points, self.rows.split(sizes), none if self.weights is None else self.weights.split(sizes)))

    @classmethod
    def joined(cls, parts: list[Points]) -> Points:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(torch.cat([part.rows for part in parts]), torch.cat(weights) if weights else None)


@final
class _Band(NamedTuple):
    """A run of rows: several whole groups, or a piece of one."""

    start: int
    stop: int
    first_group: int
    last_group: int

    def holds(self, groups: Tensor) -> Tensor:
        return (self.first_group <= groups) & (groups < self.last_group)

    def sizes(self, offsets: Tensor) -> Tensor:
        """Rows of each of its groups that are in the band."""
        return offsets[self.first_group : self.last_group + 1].clamp(self.start, self.stop).diff()


@final
class _Job(NamedTuple):
    """Pairs of groups that meet where one band meets another, or itself."""

    bands: tuple[int, ...]
    which: Tensor  # of all pairs
    offsets: Tensor  # of the groups among the rows of the bands
    left: Tensor
    right: Tensor
    times: int  # 2 for two pieces of one group, where (s, t) stands for (t, s) too

    @property
    def cost(self) -> Tensor:
        return block_cost(self.offsets, self.left, self.right)

    def sums(self, points: Points, kernel: Kernel, tick: Tick = None) -> Tensor:
        """Shape ``(pairs, r)``, of the cells of its bands."""
        rows, weights = points
        with steps(tick, lambda: int(self.cost.sum())) as told:
            sums = block_sums(rows, self.offsets, self.left, self.right, kernel=kernel, weights=weights, tick=told)
        return self.times * sums if self.times > 1 else sums


def cell_block_sums(
    cells: Cells,
    left: Tensor,
    right: Tensor,
    device: torch.device,
    *,
    kernel: Kernel,
    prepare: Callable[[Tensor], Tensor],
    weights: Columns | None,
    tick: Tick,
) -> Tensor:
    """:func:`pertorch.ops.pairwise.block_sums` of cells, with no more than the device's budget of them dense.

    Where all rows fit they are read once. Else they are cut into bands of half the budget, and two bands at a time
    give the sums of the pairs of groups that meet there. From a file, a band is one pass: of one group against all, as
    many passes as bands, of all pairs half the square of that.

    Cells of a Dask array are worked on by its workers, each of which holds two bands at a time: the bands, and which
    pairs meet in them, are the same, and so are the sums.

    Parameters
    ----------
    prepare
        Makes rows into the points that κ is evaluated on, each by itself.
    cells, left, right, device, kernel, weights, tick
        As for ``block_sums``; weights are made band by band too.
    """
    n_replicates = 0 if weights is None else weights.n_replicates
    row_bytes = COPIES * cells.n_features * cells.matrix.dtype.itemsize + WEIGHTS * n_replicates
    n, most = int(cells.offsets[-1]), memory_budget(device) // row_bytes
    load = _Load(cells, weights, prepare, device)
    if n <= most:
        bands = [_Band(0, n, 0, len(cells.sizes))]
        whole = _Job((0,), torch.arange(len(left)), cells.offsets, left, right, 1)
        if not cells.matrix.is_dask:
            return whole.sums(load(bands[0]), kernel, tick)
        return _by_tasks(_shares(whole), bands, load, kernel, len(left), tick)
    left, right = left.cpu(), right.cpu()
    tiles = cut_tiles(cells.offsets, max(1, most // 2))
    bands = [_Band(*tile) for tile in tiles.rows()]
    jobs = _jobs(bands, cells.offsets, left, right, tile_pairs(tiles, left, right))
    if cells.matrix.is_dask:
        return _by_tasks(jobs, bands, load, kernel, len(left), tick)
    total = torch.zeros(len(left), max(1, n_replicates), dtype=torch.float64, device=device)
    for job, points in _two_at_a_time(jobs, bands, load):
        total[job.which.to(device)] += job.sums(points, kernel, tick)
    return total


def _two_at_a_time(jobs: Iterable[_Job], bands: list[_Band], load: _Load) -> Iterator[tuple[_Job, Points]]:
    """Jobs and their points. A band is there twice only while two are joined: views of both are what is kept."""
    held: dict[int, Points] = {}
    for job in jobs:
        others = [i for i in held if i not in job.bands]
        kept = [*job.bands, *others[: 2 - len(job.bands)]]
        held = {i: held[i].copy() for i in kept if i in held}  # so that what they were views of is given up
        held |= {i: load(bands[i]) for i in sorted(kept, reverse=True) if i not in held}
        points = Points.joined([held[i] for i in job.bands])
        held |= zip(job.bands, points.split([len(held[i].rows) for i in job.bands]), strict=True)
        yield job, points
        del points


def _jobs(
    bands: list[_Band], offsets: Tensor, left: Tensor, right: Tensor, pairs: tuple[Tensor, Tensor]
) -> Iterator[_Job]:
    """Each band with itself when it is there: in one against all, every band is read once."""
    in_order = list(zip(*(index.tolist() for index in pairs), strict=True))
    undone = set(in_order)
    for pair in in_order:
        for s, t in (pair, (pair[0], pair[0]), (pair[1], pair[1])):
            if (s, t) in undone:
                undone.remove((s, t))
                yield _job(bands, s, t, offsets, left, right)


def _job(bands: list[_Band], s: int, t: int, offsets: Tensor, left: Tensor, right: Tensor) -> _Job:
    a, b = bands[s], bands[t]
    both = (s,) if s == t else (s, t)
    which = torch.nonzero(a.holds(left) & b.holds(right))[:, 0]
    sizes = torch.cat([bands[i].sizes(offsets) for i in both])
    return _Job(
        both,
        which,
        torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        left[which] - a.first_group,
        right[which] - b.first_group + len(sizes) - (b.last_group - b.first_group),
        2 if s != t and a.first_group == b.first_group else 1,
    )


def _shares(whole: _Job) -> Iterator[_Job]:
    """Runs of pairs of like cost."""
    left, right = whole.left.cpu(), whole.right.cpu()
    cost = block_cost(whole.offsets, left, right)
    for run in batches(cost, max(1, int(cost.sum()) // TASKS)):
        yield whole._replace(which=whole.which[run], left=left[run], right=right[run])


@final
@dataclass(frozen=True)
class _Load:
    """Points of a band, made here or in a task."""

    cells: Cells
    weights: Columns | None
    prepare: Callable[[Tensor], Tensor]
    device: torch.device

    def __call__(self, band: _Band) -> Points:
        rows = self.cells.rows(band.start, band.stop, self.device)
        return _points(rows, self.prepare, *self._drawn(band), self.device)

    def task(self, band: _Band) -> Any:
        rows = self.cells.rows_task(band.start, band.stop)
        return task(partial(_there, self.device.type, self.prepare, *self._drawn(band)), rows)

    def _drawn(self, band: _Band) -> tuple[Columns | None, slice, slice]:
        """What gives the weights; of which groups; and which of their rows: a piece of a group draws with all of it."""
        first = int(self.cells.offsets[band.first_group])
        groups = slice(band.first_group, band.last_group)
        return self.weights, groups, slice(band.start - first, band.stop - first)


def _there(kind: str, prepare: Any, weights: Columns | None, groups: slice, mine: slice, rows: Tensor) -> Points:
    return _points(rows, prepare, weights, groups, mine, own_device(kind))


def _points(
    rows: Tensor,
    prepare: Callable[[Tensor], Tensor],
    weights: Columns | None,
    groups: slice,
    mine: slice,
    device: torch.device,
) -> Points:
    points = prepare(rows.to(device))
    return Points(points, None if weights is None else weights.of(groups, device)[mine])


def _by_tasks(
    some: Iterable[_Job], bands: list[_Band], load: _Load, kernel: Kernel, n_pairs: int, tick: Tick
) -> Tensor:
    """Sums of all jobs, each a task; what several of them need is a task of its own, which goes to who needs it."""
    jobs = list(some)
    loaded = {i: load.task(bands[i]) for i in sorted({i for job in jobs for i in job.bands})}
    tasks = [task(partial(_sums, kernel, job), [loaded[i] for i in job.bands]) for job in jobs]
    costs = [int(job.cost.sum()) for job in jobs]
    total: Tensor | None = None
    for job, sums in zip(jobs, compute_tasks(tasks, tick and (lambda i: tick(costs[i]))), strict=True):
        total = torch.zeros(n_pairs, sums.shape[1], dtype=torch.float64) if total is None else total
        total[job.which] += sums
    assert total is not None
    return total.to(load.device)


def _sums(kernel: Kernel, job: _Job, loaded: list[Points]) -> Tensor:
    return job.sums(Points.joined(loaded), kernel).cpu()
