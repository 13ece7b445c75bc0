"""Fits of many guides in blocks that fit in memory, divided among devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pertorch.exec import map_devices, memory_budget
from pertorch.ops.histogram import Histograms

R = TypeVar("R")


def map_blocks(
    fit: Callable[[Histograms, Tensor, int], R],
    histograms: Histograms,
    blocks: Sequence[Tensor],
    widths: Sequence[int],
    devices: Sequence[torch.device],
    *,
    entry_bytes: int,
) -> Iterator[tuple[Tensor, R]]:
    """``fit(histograms, guides, width)`` for the guides of each block, in order, with these guides.

    A fit's last bits depend on how far its sums are padded, and so on its block: hence neither the number of devices
    nor their memory has a say in these. Where memory is short, a block is fitted some guides at a time, padded alike.

    Parameters
    ----------
    fit
        Called with histograms on the device, which is torch's own of its kind.
    histograms
        What is fitted.
    blocks, widths
        Guides of each block, and entries of each of its guides when they are padded.
    devices
        Among which the blocks are divided, by their entries.
    entry_bytes
        That a fit takes for each entry.
    """

    def on_device(device: torch.device, run: slice) -> list[tuple[Tensor, R]]:
        there, most = histograms.to(device), memory_budget(device) // entry_bytes
        mine = zip(blocks[run], widths[run], strict=True)
        return [(some, fit(there, some, width)) for block, width in mine for some in block.split(max(1, most // width))]

    def cost() -> Tensor:
        return torch.tensor([len(block) * width for block, width in zip(blocks, widths, strict=True)])

    return itertools.chain.from_iterable(map_devices(devices, cost, on_device))
