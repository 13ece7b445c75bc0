"""From a device's memory to the host's."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

PIECE_BYTES = 16 * 2**20
MOST_THREADS = 16


def download(slabs: Iterable[tuple[int, Tensor]], out: Tensor, device: torch.device) -> None:
    """Write slabs of rows into host memory while the device makes the next ones.

    A GPU fills pageable memory at a fraction of the bus's speed, and one thread copies at a tenth of it, most of that
    lost where pages are touched first. So pieces land in pinned memory, and from there threads spread them.

    Parameters
    ----------
    slabs
        Position of the first row among the rows of `out`, and rows on the device, in its dtype.
    out
        Contiguous, on the host.
    device
        The GPU that makes them.
    """
    step = max(1, PIECE_BYTES // max(1, out[:1].nbytes))
    n_threads = min(MOST_THREADS, torch.get_num_threads())
    free: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()  # pinned memory, made when it is first wanted
    for _ in range(n_threads + 2):
        free.put(None)
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        landings, beside = [], torch.cuda.Stream(device)  # on which copies do not hold up the next slab
        for start, slab in slabs:
            beside.wait_stream(torch.cuda.current_stream(device))
            for begin in range(0, len(slab), step):
                piece = slab[begin : begin + step]
                buffer = free.get()
                if buffer is None:
                    buffer = torch.empty((step, *out.shape[1:]), dtype=out.dtype, pin_memory=True)
                with torch.cuda.stream(beside):
                    buffer[: len(piece)].copy_(piece, non_blocking=True)
                    copied = beside.record_event()
                piece.record_stream(beside)
                place = out[start + begin : start + begin + len(piece)]
                landings.append(pool.submit(_land, copied, buffer, place, free))
        for landing in landings:
            landing.result()


def _land(copied: torch.cuda.Event, buffer: Tensor, place: Tensor, free: queue.SimpleQueue[Tensor | None]) -> None:
    try:
        copied.synchronize()
        place.copy_(buffer[: len(place)])
    finally:
        free.put(buffer)
