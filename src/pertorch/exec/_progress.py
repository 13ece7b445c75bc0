"""One way to show progress, and to note in the log how long a stage took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from tqdm import tqdm

from pertorch._settings import settings

T = TypeVar("T")
DELAY = 1.0  # seconds until a bar that nobody asked for by name appears
log = logging.getLogger("pertorch")


@contextmanager
def progress_bar(
    total: Callable[[], int], what: str, show: bool | None = None, *, unit: str = "steps"
) -> Iterator[Any]:
    """A tqdm bar over the block, told by ``bar.update(n)`` what is done; afterwards its time at level INFO of the log.

    Parameters
    ----------
    total
        Gives the number of units; asked only where the bar is shown.
    what
        Name of the stage.
    show
        Whether to show it, at once, and the bars of stages within it. ``None``: as `settings.progress` says, once a
        second has passed.
    unit
        What is counted, in the plural.
    """
    shown = settings.progress if show is None else show
    started = time.perf_counter()
    options = {"unit": f" {unit}", "unit_scale": True, "delay": DELAY if show is None else 0}
    within = nullcontext() if show is None else settings.override(progress=show)
    with within, _bar(shown)(total=total() if shown else None, desc=what, disable=not shown, **options) as bar:
        yield bar
    log.info("%s: %.3f s", what, time.perf_counter() - started)


def _bar(shown: bool) -> Any:
    """What suits a terminal or a notebook; the latter warns where its widgets are missing, so only if it is shown."""
    if not shown:
        return tqdm
    from tqdm.auto import tqdm as suited

    return suited


def track(
    items: Iterable[T], total: int, what: str, *, unit: str, size: Callable[[T], int] = lambda _: 1
) -> Iterator[T]:
    """The items, with a :func:`progress_bar` that advances by the `size` of each when the next one is asked for."""
    with progress_bar(lambda: total, what, unit=unit) as bar:
        for item in items:
            yield item
            bar.update(size(item))


@contextmanager
def steps(tick: Callable[[int], object] | None, total: Callable[[], int]) -> Iterator[Callable[[int], object] | None]:
    """A tick for work of so many steps: of more, as where tiles hold cells that nobody asked for, no more is told.

    What was not told, as where some turn out not to be needed, is told at the end.
    """
    if tick is None:
        yield None
        return
    left = total()

    def told(n: int) -> None:
        nonlocal left
        n = min(n, left)
        left -= n
        tick(n)

    yield told
    tick(left)
