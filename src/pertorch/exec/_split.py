"""One thread a device, work split by cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from pertorch.exec._context import in_context

T = TypeVar("T")


def map_devices(
    devices: Sequence[torch.device], cost: Callable[[], torch.Tensor], work: Callable[[torch.device, slice], T]
) -> list[T]:
    """Cut items into one contiguous run per device, of like cost, and do ``work(device, run)`` on each.

    Parameters
    ----------
    devices
        Where to work.
    cost
        Gives the cost of each item, shape ``(n,)``, any unit, on the CPU. Asked only where there is a choice.
    work
        Called with a device and the slice of items that it gets.

    Returns
    -------
    What `work` returned, in the order of the items: concatenated, it is what one device would have given.
    """
    if len(devices) == 1:
        return [work(devices[0], slice(None))]
    costs = cost().double()
    middle = costs.cumsum(0) - costs / 2  # an item goes where its middle lies
    shares = torch.arange(1, len(devices), dtype=torch.float64) * float(costs.sum()) / len(devices)
    cuts = [0, *torch.searchsorted(middle, shares).tolist(), len(costs)]
    runs = [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
    with ThreadPoolExecutor(len(devices)) as pool:
        return list(pool.map(in_context(work), devices, runs))
