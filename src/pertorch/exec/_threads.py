"""Many small tasks on the CPU: one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


def map_threads(work: Callable[[S], T], items: Iterable[S], device: torch.device) -> Iterator[T]:
    """``work(item)`` of each, in order: in as many threads as torch has, each with one of torch's; in turn on a GPU.

    A task too small to share among threads is sooner done so, and its result does not depend on their number.
    """
    if device.type != "cpu" or torch.get_num_threads() == 1:
        return map(work, items)
    return _pool(os.getpid(), torch.get_num_threads()).map(work, items)


@cache
def _pool(pid: int, n_threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes longer than a small task. A forked process has none of its parent's."""
    del pid
    return ThreadPoolExecutor(n_threads, "pertorch", initializer=torch.set_num_threads, initargs=(1,))
