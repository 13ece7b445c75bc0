"""Guide assignment: counts made by chunks, so that a million cells fit in the memory of the result."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scipy.sparse as sp


def guide_counts(
    n_cells: int, n_guides: int, density: float = 0.02, seed: int = 0, chunk: int = 50_000
) -> sp.csr_matrix:
    """Cells × guides, float32: ambient molecules in `density` of the entries, and one guide in most cells."""
    rng = np.random.default_rng(seed)
    room = int(n_cells * n_guides * density * 1.05) + 2 * n_cells
    data, indices = np.empty(room, np.float32), np.empty(room, np.int32)
    indptr = np.zeros(n_cells + 1, np.int64 if room > 2**31 else np.int32)
    used = 0
    for start in range(0, n_cells, chunk):
        rows = min(chunk, n_cells - start)
        part = _chunk(rng, rows, n_guides, density)
        data[used : used + part.nnz], indices[used : used + part.nnz] = part.data, part.indices
        indptr[start + 1 : start + rows + 1] = used + part.indptr[1:]
        used += part.nnz
    return sp.csr_matrix((data[:used], indices[:used], indptr), shape=(n_cells, n_guides))


def _chunk(rng: np.random.Generator, rows: int, n_guides: int, density: float) -> sp.csr_array:
    ambient = int(rows * n_guides * density)
    row, column = rng.integers(0, rows, ambient), rng.integers(0, n_guides, ambient)
    cells = np.repeat(np.arange(rows), rng.choice([0, 1, 2], rows, p=[0.15, 0.7, 0.15]))
    signal = np.maximum(1, np.round(np.exp(rng.normal(4.0, 0.8, len(cells)))))
    counts = np.concatenate([1 + rng.poisson(0.3, ambient), signal]).astype(np.float32)
    place = np.concatenate([row, cells]), np.concatenate([column, rng.integers(0, n_guides, len(cells))])
    return sp.csr_array(sp.coo_array((counts, place), shape=(rows, n_guides)))


def guide_screen(n_cells: int, n_guides: int, density: float = 0.02) -> ad.AnnData:
    """The counts as an AnnData."""
    return ad.AnnData(guide_counts(n_cells, n_guides, density))
