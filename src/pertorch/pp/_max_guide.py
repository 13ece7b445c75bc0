"""The largest guide of each cell."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.pp import _resident
from pertorch.pp._counts import Counts


def largest_guide(counts: Counts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Guide with the largest count in each cell and that count; ties go to the first guide in var order.

    Returns
    -------
    Two arrays of shape ``(n_obs,)``, int64: guide, −1 where the cell has no count at all, and count.
    """
    there = counts.resident
    found = None if there is None else _resident.largest(there)
    if found is not None:
        return found
    n_guides = counts.shape[1]

    def best(slab: sp.csr_array, _: slice) -> NDArray[np.int64]:
        # One integer holds count and guide: its maximum is the largest count and, among ties, the first guide.
        ranked = slab.data.astype(np.int64)
        ranked *= n_guides
        ranked += n_guides - 1 - slab.indices
        out = np.full(slab.shape[0], -1, dtype=np.int64)
        seen = np.flatnonzero(np.diff(slab.indptr))
        if len(seen):
            out[seen] = np.maximum.reduceat(ranked, slab.indptr[seen])
        return out

    ranked = np.concatenate([np.zeros(0, dtype=np.int64), *counts.map(best)])
    return np.where(ranked >= 0, n_guides - 1 - ranked % n_guides, -1), np.maximum(ranked // n_guides, 0)
