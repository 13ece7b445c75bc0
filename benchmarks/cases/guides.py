"""Guide assignment: counts made by chunks, so that a million cells fit in the memory of the result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from benchmarks._registry import Work, case
from pertorch import GuideAssignment


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


def assignment(n_cells: int, n_guides: int, method: str, peer_module: str, package: str, **options: Any) -> Work:
    """A method of GuideAssignment, ours and a peer's, each on the same counts."""
    adata = guide_screen(n_cells, n_guides)

    def peer() -> Callable[[], Any]:
        Peer = import_module(peer_module).GuideAssignment
        return partial(getattr(Peer(), method), adata.copy(), **options)

    return Work(partial(getattr(GuideAssignment(), method), adata, **options), peer, package)


PERTPY = ("pertpy.preprocessing", "pertpy")
RAPIDS = ("rapids_singlecell.ptg", "rapids-singlecell-cu13")


@case("guides_max", sizes=[(100_000, 1_000)])
def guides_max(n_cells: int, n_guides: int) -> Work:
    """The guide with the most counts."""
    return assignment(n_cells, n_guides, "assign_to_max_guide", *PERTPY, assignment_threshold=5)


@case("guides_threshold", sizes=[(100_000, 1_000)])
def guides_threshold(n_cells: int, n_guides: int) -> Work:
    """Every guide with enough counts."""
    return assignment(n_cells, n_guides, "assign_by_threshold", *PERTPY, assignment_threshold=5)


@case("guides_max_gpu", sizes=[(500_000, 2_000)], device="cuda")
def guides_max_gpu(n_cells: int, n_guides: int) -> Work:
    """The guide with the most counts, on a GPU where that pays."""
    return assignment(n_cells, n_guides, "assign_to_max_guide", *RAPIDS, assignment_threshold=5)


@case("guides_mixture_gpu", sizes=[(100_000, 1_000), (500_000, 2_000)], device="cuda")
def guides_mixture_gpu(n_cells: int, n_guides: int) -> Work:
    """The Poisson-Gaussian mixture of every guide."""
    return assignment(n_cells, n_guides, "assign_mixture_model", *RAPIDS)
