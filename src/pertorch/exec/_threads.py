"""Threads on a CPU, each with a torch of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def map_threads(work: Callable[[T], R], items: Sequence[T], device: torch.device) -> Iterator[R]:
    """``work(item)`` for each item, in order; on a CPU in as many threads as torch has, with one torch thread in each.

    Operations of a few milliseconds should not be cut up and wait for each other: beside other work on the machine,
    that waiting takes many times longer than the operation. On a GPU the items are done one after the other.
    """
    if device.type != "cpu" or torch.get_num_threads() == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, items)


def map_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """As :func:`map_threads`, with items that are taken by the caller's thread, and only a few ahead.

    So they may be read from a file as they are needed.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        yield from map(work, items)
        return
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
