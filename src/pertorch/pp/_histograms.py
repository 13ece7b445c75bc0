"""From counts to histograms, in one pass."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from pertorch.ops.histogram import Histograms, Tally
from pertorch.pp._counts import Counts


def histograms(counts: Counts, device: torch.device) -> Histograms:
    """Histogram of the non-zero counts of each guide, on `device`.

    On a CPU each thread tallies its share of the slabs; integers add up to the same whatever the share.
    """
    slabs = list(counts.slabs())
    n_workers = min(torch.get_num_threads(), len(slabs)) if device.type == "cpu" else 1

    def share(worker: int) -> Tally:
        tally = Tally(counts.matrix.shape[1], device)
        for slab in slabs[worker::n_workers]:
            tally.add(torch.from_numpy(slab.indices).to(device), torch.from_numpy(slab.data).to(device))
        return tally

    if n_workers <= 1:
        return share(0).histograms()
    with ThreadPoolExecutor(n_workers) as pool:
        first, *others = pool.map(share, range(n_workers))
    for other in others:
        first.merge(other)
    return first.histograms()
