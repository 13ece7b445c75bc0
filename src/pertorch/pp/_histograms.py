"""From counts to histograms, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple, final

import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.exec import compute_tasks, reduce_tasks, upload
from pertorch.ops.histogram import Histograms, Tally
from pertorch.pp import _resident
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

    On a CPU each thread has a tally, and with Dask each chunk; integers add up to the same whatever the slabs.

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
    if (there := counts.resident) is not None and column is None and value is None:
        return _resident.histograms(there)
    wanted = _Wanted(n_columns or counts.shape[1], column, value)
    if counts.source.is_dask:
        return _merged(compute_tasks([reduce_tasks(counts.tasks(wanted.tally), _merged)]), device).histograms()
    free: SimpleQueue[Tally] = SimpleQueue()
    tallies = []
    for _ in range(torch.get_num_threads() if device.type == "cpu" else 1):
        tallies.append(Tally(wanted.n_columns, device))
        free.put(tallies[-1])

    def add(rows: sp.csr_array, cells: slice) -> None:
        tally = free.get()
        try:
            wanted.add(tally, rows, cells)
        finally:
            free.put(tally)

    for _ in counts.map(add):
        pass
    first, *others = tallies
    for other in others:
        first.merge(other)
    return first.histograms()


@final
class _Wanted(NamedTuple):
    """What is counted."""

    n_columns: int
    column: Entries | None
    value: Entries | None

    def tally(self, rows: sp.csr_array, cells: slice) -> Tally:
        """Of one slab."""
        tally = Tally(self.n_columns)
        self.add(tally, rows, cells)
        return tally

    def add(self, tally: Tally, rows: sp.csr_array, cells: slice) -> None:
        columns = rows.indices if self.column is None else self.column(rows, cells)
        values = rows.data if self.value is None else self.value(rows, cells)
        tally.add(*(upload(torch.from_numpy(part), tally.device) for part in (columns, values)))


def _merged(parts: list[Tally], device: torch.device | str = "cpu") -> Tally:
    whole = Tally(parts[0].n_columns, device)
    for part in parts:
        whole.merge(part)
    return whole
