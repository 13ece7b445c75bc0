"""From counts to histograms, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.ops.histogram import Histograms, Tally
from pertorch.pp._counts import Counts

Entries = Callable[[sp.csr_array, slice], NDArray[Any]]  # from a slab and its cells to a number for each entry


def histograms(
    counts: Counts,
    device: torch.device,
    *,
    n_columns: int | None = None,
    column: Entries | None = None,
    value: Entries | None = None,
) -> Histograms:
    """Histograms of the non-zero entries, on `device`: of the counts of each guide, or of what is asked for instead.

    On a CPU each thread has a tally; integers add up to the same whatever the slabs that it meets.

    Parameters
    ----------
    counts
        Guide counts.
    device
        Where to count.
    n_columns, column
        Number of histograms, and which of them an entry goes to. Default: its guide's.
    value
        What to count. Default: the counts.
    """
    if counts.resident is not None and column is None and value is None:
        return counts.resident.histograms()
    free: SimpleQueue[Tally] = SimpleQueue()
    tallies = []
    for _ in range(torch.get_num_threads() if device.type == "cpu" else 1):
        tallies.append(Tally(n_columns or counts.shape[1], device))
        free.put(tallies[-1])

    def add(rows: sp.csr_array, cells: slice) -> None:
        columns = rows.indices if column is None else column(rows, cells)
        values = rows.data if value is None else value(rows, cells)
        tally = free.get()
        try:
            tally.add(_on(columns, device), _on(values, device))
        finally:
            free.put(tally)

    for _ in counts.map(add):
        pass
    first, *others = tallies
    for other in others:
        first.merge(other)
    return first.histograms()


def _on(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values).to(device)
