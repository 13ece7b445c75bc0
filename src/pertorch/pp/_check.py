"""What a count is."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

MOST = 2**40  # count × number of guides fits an int64 below this; no cell holds as many molecules


def check(rows: sp.csr_array, name: str, first_cell: int = 0) -> None:
    """Refuse what is not a count.

    Raises
    ------
    ValueError
        If one is negative, NaN, infinite or fractional: names the first.
    """
    step = 2**17  # a step's few masks stay in the cache
    for start in range(0, rows.nnz, step):
        part = rows.data[start : start + step]
        good = (part >= 0) & (part <= MOST)  # false for NaN
        if part.dtype.kind == "f":
            good &= np.rint(part) == part
        if not good.all():
            at = start + int(np.argmin(good))
            cell = first_cell + int(np.searchsorted(rows.indptr, at, side="right")) - 1
            raise ValueError(
                f"{name} holds {rows.data[at]} at cell {cell}, guide {int(rows.indices[at])}, which is not a count: "
                "guide assignment needs raw UMI counts, whole numbers that are not negative. Pass the layer that "
                "holds them."
            )
