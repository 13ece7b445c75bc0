"""Guide counts, as plots read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scipy.sparse as sp

from pertorch.data import open_matrix

if TYPE_CHECKING:
    from anndata import AnnData


def guide_counts(adata: AnnData, layer: str | None) -> sp.csr_array:
    """Counts, cells × guides.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError
        If a count is negative.
    """
    matrix = open_matrix(adata, layer or "X").counts()
    if matrix.nnz and not matrix.data.min() >= 0:
        raise ValueError(f"{layer or 'X'} holds {matrix.data.min()}: counts are not negative.")
    return matrix
