"""From counts to histograms, in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    column: Entries = lambda slab, _: slab.indices,
    value: Entries = lambda slab, _: slab.data,
) -> Histograms:
    """Histograms of the non-zero entries, on `device`: of the counts of each guide, or of what `value` makes of them.

    On a CPU each thread tallies its share of the slabs; integers add up to the same whatever the share.
    """
    work = counts.slabs()
    n_workers = min(torch.get_num_threads(), len(work)) if device.type == "cpu" else 1

    def share(worker: int) -> Tally:
        tally = Tally(n_columns or counts.matrix.shape[1], device)
        for part in itertools.islice(work, worker, None, n_workers):
            tally.add(_on(column(*part), device), _on(value(*part), device))
        return tally

    if n_workers <= 1:
        return share(0).histograms()
    with ThreadPoolExecutor(n_workers) as pool:
        first, *others = pool.map(share, range(n_workers))
    for other in others:
        first.merge(other)
    return first.histograms()


def _on(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values).to(device)
