"""From a device's memory to the host's."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

PIECE_BYTES = 64 * 2**20
IN_FLIGHT = 3  # pieces of pinned memory that are being filled or emptied


def download(slabs: Iterable[tuple[int, Tensor]], out: Tensor) -> None:
    """Write slabs of rows into host memory while the device makes the next ones.

    Pageable memory is filled at a fraction of the bus's speed, most of it lost where pages are touched first. So pieces
    land in pinned memory, and from there torch's threads spread them while the bus goes on.

    Parameters
    ----------
    slabs
        Position of the first row among the rows of `out`, and rows on the device, in its dtype.
    out
        Contiguous, on the host.
    """
    step = max(1, PIECE_BYTES // max(1, out[:1].nbytes))
    free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
    n_made = 0
    with ThreadPoolExecutor(1) as pool:
        landings = []
        for start, slab in slabs:
            if not slab.is_cuda:
                out[start : start + len(slab)].copy_(slab)
                continue
            for begin in range(0, len(slab), step):
                piece = slab[begin : begin + step]
                if n_made < IN_FLIGHT:
                    buffer = torch.empty((step, *out.shape[1:]), dtype=out.dtype, pin_memory=True)
                    n_made += 1
                else:
                    buffer = free.get()
                buffer[: len(piece)].copy_(piece, non_blocking=True)
                copied = torch.cuda.Event()
                copied.record(torch.cuda.current_stream(slab.device))
                place = out[start + begin : start + begin + len(piece)]
                landings.append(pool.submit(_land, copied, buffer, place, free))
        for landing in landings:
            landing.result()


def _land(copied: torch.cuda.Event, buffer: Tensor, place: Tensor, free: queue.SimpleQueue[Tensor]) -> None:
    try:
        copied.synchronize()
        place.copy_(buffer[: len(place)])
    finally:
        free.put(buffer)
