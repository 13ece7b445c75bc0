"""Block sums over more cells than may be dense at once, here or as tasks of Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from pertorch.exec import compute_tasks, memory_budget, own_device, task
from pertorch.metrics._jobs import Band, Job, Points, Tick, jobs_of_bands, jobs_of_pairs
from pertorch.ops.pairwise import COPIES, Kernel

if TYPE_CHECKING:
    from pertorch.data import Cells
    from pertorch.stats import Columns

WEIGHTS = 12  # bytes that a weight takes: as drawn, joined, and beside what it is drawn from


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
        bands = [Band(0, n, 0, len(cells.sizes))]
        whole = Job((0,), torch.arange(len(left)), cells.offsets, left, right, 1)
        if not cells.matrix.is_dask:
            return whole.sums(load(bands[0]), kernel, tick)
        return _by_tasks(jobs_of_pairs(whole), bands, load, kernel, len(left), tick)
    left, right = left.cpu(), right.cpu()
    bands, jobs = jobs_of_bands(cells.offsets, max(1, most // 2), left, right)
    if cells.matrix.is_dask:
        return _by_tasks(jobs, bands, load, kernel, len(left), tick)
    total = torch.zeros(len(left), max(1, n_replicates), dtype=torch.float64, device=device)
    for job, points in _two_at_a_time(jobs, bands, load):
        total[job.which.to(device)] += job.sums(points, kernel, tick)
    return total


def _two_at_a_time(jobs: Iterable[Job], bands: list[Band], load: _Load) -> Iterator[tuple[Job, Points]]:
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


@final
@dataclass(frozen=True)
class _Load:
    """Points of a band, made here or in a task."""

    cells: Cells
    weights: Columns | None
    prepare: Callable[[Tensor], Tensor]
    device: torch.device

    def __call__(self, band: Band) -> Points:
        rows = self.cells.rows(band.start, band.stop, self.device)
        return _points(rows, self.prepare, *self._drawn(band), self.device)

    def task(self, band: Band) -> Any:
        rows = self.cells.rows_task(band.start, band.stop)
        return task(partial(_there, self.device.type, self.prepare, *self._drawn(band)), rows)

    def _drawn(self, band: Band) -> tuple[Columns | None, slice, slice]:
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


def _by_tasks(some: Iterable[Job], bands: list[Band], load: _Load, kernel: Kernel, n_pairs: int, tick: Tick) -> Tensor:
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


def _sums(kernel: Kernel, job: Job, loaded: list[Points]) -> Tensor:
    return job.sums(Points.joined(loaded), kernel).cpu()
