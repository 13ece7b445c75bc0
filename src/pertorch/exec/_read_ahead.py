"""Read what comes next while what has come is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pertorch.exec._context import in_context

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``read(item)`` for each item, in order; a thread reads the next one while the caller works on this one.

    So two of them are in memory at a time. Whoever stops early waits for the one that is being read.
    """
    read = in_context(read)
    with ThreadPoolExecutor(1, "pertorch-read") as pool:
        coming: Future[R] | None = None
        for item in items:
            here, coming = coming, pool.submit(read, item)
            if here is not None:
                yield here.result()
                del here  # or a third would be kept
        if coming is not None:
            yield coming.result()
