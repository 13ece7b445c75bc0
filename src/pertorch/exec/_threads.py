"""Many small tasks on the CPU: one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


def map_threads(work: Callable[[S], T], items: Sequence[S], device: torch.device) -> Iterator[T]:
    """``work(item)`` of each, in order: in as many threads as torch has, each with one of torch's; in turn on a GPU.

    A task too small to share among threads is sooner done so, and its result does not depend on their number.
    """
    if device.type != "cpu" or torch.get_num_threads() == 1 or len(items) == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, items)
