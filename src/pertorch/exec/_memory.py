"""What happens when a device runs out of memory: smaller slabs, and on."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, final

import torch

from pertorch._settings import settings
from pertorch.exec._devices import memory_budget

T = TypeVar("T")
log = logging.getLogger("pertorch")

LEAST_BYTES = 2**24  # of slabs; where even these find no room, the error is the caller's


@final
class Kept(dict[torch.device, T]):
    """What is kept on devices to be used again: it is given up where one runs out of memory."""

    def __init__(self, *values: dict[torch.device, T]) -> None:
        super().__init__(*values)
        with _lock:
            _kept[id(self)] = self


_lock = threading.Lock()
_kept: weakref.WeakValueDictionary[int, Kept[Any]] = weakref.WeakValueDictionary()


def may_keep(nbytes: int, device: torch.device, share: float) -> bool:
    """Whether something may lie on a GPU from now on: within a share of its free memory, and the budget if one is set.

    A device that ran out of memory has one.
    """
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    most = share * (torch.cuda.mem_get_info(device)[0] + cached)
    return nbytes <= (most if settings.memory_gb is None else min(most, memory_budget(device)))


def with_less_memory(device: torch.device, work: Callable[[], T]) -> T:
    """``work()``; where the device has no room for it, again with half of the budget, and so on, said in the log.

    What `work` has done so far is forgotten: it must leave nothing behind but what it returns. Other errors of a device
    are the caller's at once.

    Parameters
    ----------
    device
        Where it works.
    work
        Reads :func:`memory_budget` when it starts.

    Raises
    ------
    torch.OutOfMemoryError
        If there is no room even for slabs of `LEAST_BYTES`.
    """
    before, least = memory_budget(device), settings.memory_gb
    budget = before
    while True:
        try:
            with settings.override(memory_gb=least):
                done = work()
            if budget < before:
                told = "%s ran out of memory: done with slabs of at most %.3g GB in place of %.3g."
                log.warning(told, device, budget / 1e9, before / 1e9)
            return done
        except torch.OutOfMemoryError as error:
            if budget // 2 < LEAST_BYTES or getattr(error, "is_final", False):
                error.is_final = True  # type: ignore[attr-defined]  # those around need not try again
                raise
        # Beyond the handler, where the error holds no frame, and so no tensor, any more
        budget //= 2
        least = budget / 1e9
        _release(device)


def _release(device: torch.device) -> None:
    with _lock:
        everything = list(_kept.values())
    for kept in everything:
        kept.pop(device, None)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
