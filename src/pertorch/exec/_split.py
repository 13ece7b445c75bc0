"""One thread a device, work split by cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from pertorch.exec._context import in_context
from pertorch.exec._memory import with_less_memory
from pertorch.exec._triton import current_device

T = TypeVar("T")


def map_devices(
    devices: Sequence[torch.device], cost: Callable[[], torch.Tensor], work: Callable[[torch.device, slice], T]
) -> list[T]:
    """Cut items into one contiguous run per device, of like cost, and do ``work(device, run)`` on each.

    Parameters
    ----------
    devices
        Where to work. One that runs out of memory goes on with less: see :func:`with_less_memory`.
    cost
        Gives the cost of each item, shape ``(n,)``, any unit, on any device. Asked only where there is a choice.
    work
        Called with a device, which is then torch's own of its kind, and the slice of items that it gets: at least one,
        but where there are none at all.

    Returns
    -------
    What `work` returned, in the order of the items: concatenated, it is what one device would have given.
    """

    def there(device: torch.device, run: slice) -> T:
        with current_device(device):
            return with_less_memory(device, lambda: work(device, run))

    runs = _runs(cost(), len(devices)) if len(devices) > 1 else []
    if len(runs) < 2:  # the caller's thread does for one
        return [there(devices[0], runs[0] if runs else slice(None))]
    _load_linear_algebra(devices[0])
    with ThreadPoolExecutor(len(runs), "pertorch-device") as pool:
        return list(pool.map(in_context(there), devices, runs))


@cache
def _load_linear_algebra(device: torch.device) -> None:
    """Which torch loads when it is first used, but not for two threads at a time."""
    if device.type == "cuda":
        torch.linalg.cholesky_ex(torch.ones(1, 1, device=device))


def _runs(cost: torch.Tensor, n_devices: int) -> list[slice]:
    if not len(cost):
        return []
    cost = cost.double()
    until = cost.cumsum(0)
    middle = until - cost / 2  # an item goes where its middle lies
    shares = torch.arange(1, n_devices, dtype=torch.float64, device=cost.device) / n_devices
    inner = torch.searchsorted(middle, shares * until[-1:]).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise([0, *inner, len(cost)]) if start < stop]
