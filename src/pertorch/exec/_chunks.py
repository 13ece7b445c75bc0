"""One function over the chunks of a matrix, its results merged: here, or as tasks of Dask's scheduler.

Dask is imported only where tasks are handed in, so by someone who has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, final

from pertorch._settings import SETTINGS, settings

T = TypeVar("T")
R = TypeVar("R")
FAN_IN = 8  # results merged at once
TASKS = 64  # that work on the same cells is shared out to: it does not depend on who does it
SHARED_BYTES = 2**20  # from here on an array does not travel within the graph


def map_reduce(chunks: Iterable[T], work: Callable[[T], R], merge: Callable[[list[R]], R]) -> R:
    """Merge ``work(chunk)`` of all chunks, `FAN_IN` at a time, as they come.

    Which results are merged with which depends on the number of chunks alone: so do the bits. No more than `FAN_IN`
    results a level are held.

    Parameters
    ----------
    chunks
        One at least, as they are read.
    work
        Makes a result of a chunk.
    merge
        From neighbouring results to one of their kind.
    """
    levels: list[list[R]] = []
    for chunk in chunks:
        _push(levels, 0, work(chunk), merge)
    while len(levels) > 1:  # what is left over, from the leaves up
        rest = levels.pop(0)
        if rest:
            levels[0].append(_merged(rest, merge))
    return _merged(levels[0], merge)


def reduce_tasks(tasks: Sequence[Any], merge: Callable[[list[R]], R]) -> Any:
    """The same tree as one task of Dask, of tasks that give the results."""
    while len(tasks) > 1:
        runs = [tasks[start : start + FAN_IN] for start in range(0, len(tasks), FAN_IN)]
        tasks = [run[0] if len(run) == 1 else task(merge, list(run)) for run in runs]
    return tasks[0]


def task(work: Callable[..., Any], *arguments: Any) -> Any:
    """The task of Dask that gives ``work(*arguments)``, under the settings that hold here.

    Parameters
    ----------
    work
        A function of a module, or ``functools.partial`` of one, whose arguments are not looked through for tasks.
    *arguments
        Tasks among them stand for what they give.
    """
    from dask.delayed import delayed

    return delayed(_AsHere(work), traverse=False)(*arguments)


@final
class _AsHere:
    """Work that a worker does under the settings of who asked for it; which device of a kind is its own affair."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.__name__ = work, getattr(getattr(work, "func", work), "__name__", "task")
        kind = settings.device.partition(":")[0]
        self.settings = {name: getattr(settings, name) for name in SETTINGS} | {"device": kind, "progress": False}

    def __call__(self, *arguments: Any) -> Any:
        with settings.override(**self.settings):
            return self.work(*arguments)


def compute_tasks(
    tasks: Sequence[Any], done: Callable[[int], object] | None = None, watched: Sequence[Any] | None = None
) -> list[Any]:
    """What tasks of Dask give, on the scheduler that is current.

    Parameters
    ----------
    tasks
        From :func:`task`.
    done
        Called with the position of each watched task, when it is done.
    watched
        Tasks to watch: these, if not given, or some that they are made of, which are forgotten when they are done.
    """
    from dask.base import compute
    from dask.callbacks import Callback

    watched = tasks if watched is None else watched
    position = {task.key: i for i, task in enumerate(watched)}

    def finished(key: Any, *_: Any) -> None:
        if done and key in position:
            done(position[key])

    client = _client()
    if client is None:
        with Callback(posttask=finished):
            return list(compute(*tasks, optimize_graph=False))
    from distributed import as_completed

    beside = [] if watched is tasks else list(watched)
    futures = client.compute([*tasks, *beside], optimize_graph=False)
    wanted, every = futures[: len(tasks)], as_completed(futures, loop=client.loop, raise_errors=False)
    del futures  # what is watched is held by those who need it
    try:
        for future in every:
            finished(future.key)
        return list(client.gather(wanted))
    except BaseException:  # a Ctrl-C too
        client.cancel(wanted)  # else a traceback that is kept keeps the workers at it
        raise


def shared(values: Any) -> Any:
    """An array as an argument of tasks: a large one goes to every worker of a cluster once, so that one may be lost.

    So may anything else that says how many bytes it takes (``nbytes``).
    """
    client = _client() if values.nbytes >= SHARED_BYTES else None
    return values if client is None else client.scatter(values, broadcast=True, hash=False)


def _client() -> Any:
    """Of a cluster, if that is the scheduler that is current."""
    from dask.base import get_scheduler

    client = getattr(get_scheduler(), "__self__", None)
    return client if type(client).__module__.partition(".")[0] == "distributed" else None


def _push(levels: list[list[R]], level: int, result: R, merge: Callable[[list[R]], R]) -> None:
    if level == len(levels):
        levels.append([])
    levels[level].append(result)
    if len(levels[level]) == FAN_IN:
        full, levels[level] = levels[level], []
        _push(levels, level + 1, merge(full), merge)


def _merged(results: list[R], merge: Callable[[list[R]], R]) -> R:
    return results[0] if len(results) == 1 else merge(results)
