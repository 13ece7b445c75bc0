"""The largest guide of each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertorch.pp._counts import Counts


def largest_guide(counts: Counts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Guide with the largest count in each cell and that count; ties go to the first guide in var order.

    Returns
    -------
    Two arrays of shape ``(n_obs,)``, int64: guide, −1 where the cell has no count at all, and count.
    """
    n_cells, n_guides = counts.matrix.shape
    best = np.full(n_cells, -1, dtype=np.int64)
    row = 0
    for slab in counts.slabs():
        # One integer holds count and guide: its maximum is the largest count and, among ties, the first guide.
        ranked = slab.data.astype(np.int64)
        ranked *= n_guides
        ranked += n_guides - 1 - slab.indices
        seen = np.flatnonzero(np.diff(slab.indptr))
        if len(seen):
            best[row + seen] = np.maximum.reduceat(ranked, slab.indptr[seen])
        row += slab.shape[0]
    guide = np.where(best >= 0, n_guides - 1 - best % n_guides, -1)
    return guide, np.maximum(best // n_guides, 0)
