"""Work on the cells of shares: here, as they are loaded one after the other, or by the workers of Dask."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pertorch.data._shares import Share
from pertorch.exec import compute_tasks, own_device, progress_bar, task

if TYPE_CHECKING:
    from pertorch.data._cells import Cells

T = TypeVar("T")
Jobs = Sequence[tuple[Share, tuple[Any, ...]]]
Tick = Callable[[int], object]


def map_shares(
    cells: Cells,
    jobs: Jobs,
    work: Callable[..., T],
    devices: Sequence[torch.device],
    tick: Tick | None,
    costs: Sequence[int],
) -> list[T]:
    """See :meth:`Cells.map`; each job is a share and its arguments."""
    run = _by_tasks if cells.matrix.is_dask else _one_by_one
    if tick is not None:
        return run(cells, jobs, work, devices, tick, (lambda i: tick(costs[i])) if cells.matrix.is_dask else None)
    sizes = [int(cells.sizes[share.groups].sum()) for share, _ in jobs]
    with progress_bar(lambda: sum(sizes), f"groups of {cells.matrix.name}", unit="cells") as bar:
        return run(cells, jobs, work, devices, None, lambda i: bar.update(sizes[i]))


def _one_by_one(
    cells: Cells, jobs: Jobs, work: Any, devices: Sequence[torch.device], tick: Tick | None, done: Tick | None
) -> list[Any]:
    out: list[Any] = []
    for groups, some in itertools.groupby(jobs, lambda job: job[0].loaded):
        loaded = cells.some(groups)
        for share, its in some:
            out.append(work(loaded.some(share.within), devices, tick, *its))
            if done:
                done(len(out) - 1)
        del loaded  # or two loads would be in memory
    return out


def _by_tasks(
    cells: Cells, jobs: Jobs, work: Any, devices: Sequence[torch.device], _: object, done: Tick | None
) -> list[Any]:
    from dask.delayed import delayed

    loads = {groups: cells.some_task(groups) for groups in dict.fromkeys(tuple(share.loaded) for share, _ in jobs)}
    everywhere = delayed(work, traverse=False)  # once, whatever it brings along
    tasks = [
        task(partial(_on_worker, devices[0].type, share.within, its), everywhere, loads[tuple(share.loaded)])
        for share, its in jobs
    ]
    return [_moved(found, devices[0]) for found in compute_tasks(tasks, done)]


def _on_worker(kind: str, within: list[int], arguments: tuple[Any, ...], work: Callable[..., T], loaded: Cells) -> T:
    found = work(loaded.some(within), [own_device(kind)], None, *arguments)
    return _moved(found, torch.device("cpu"))


def _moved(found: Any, device: torch.device) -> Any:
    """A tensor, or a tuple of them, on a device; anything else as it is."""
    if isinstance(found, torch.Tensor):
        return found.to(device)
    return type(found)(*(_moved(part, device) for part in found)) if isinstance(found, tuple) else found
