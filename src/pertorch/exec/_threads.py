"""Threads on a CPU, each with a torch of its own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from pertorch.exec._context import in_context

T = TypeVar("T")
R = TypeVar("R")


def map_threads(work: Callable[[T], R], items: Sequence[T], device: torch.device) -> Iterator[R]:
    """``work(item)`` for each item, in order; on a CPU in as many threads as torch has, with one torch thread in each.

    Operations of a few milliseconds should not be cut up and wait for each other: beside other work on the machine,
    that waiting takes many times longer than the operation. On a GPU the items are done one after the other.
    """
    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1:
        yield from map(work, items)
    elif len(items) == 1:
        yield _alone(work, items[0], n_threads)
    else:
        yield from _pool(n_threads).map(in_context(work), items)


def map_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """As :func:`map_threads`, with items that are taken by the caller's thread, and only a few ahead.

    So they may be read from a file as they are needed.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        yield from map(work, items)
        return
    work, ahead = in_context(work), deque[Future[R]]()
    for item in items:
        ahead.append(_pool(n_threads).submit(work, item))
        if len(ahead) > n_threads:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _alone(work: Callable[[T], R], item: T, n_threads: int) -> R:
    """As a thread of the pool does it: the same bits, however many threads there are."""
    torch.set_num_threads(1)
    try:
        return work(item)
    finally:
        torch.set_num_threads(n_threads)


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Kept between calls: a new thread's first use of torch takes a millisecond."""
    return ThreadPoolExecutor(n_threads, "pertorch", initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of its parent's threads
