"""Guide assignment, from counts in host memory to labels in ``obs``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from benchmarks._registry import Work, case
from pertorch import GuideAssignment

KEY = "assigned_guide"


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


def differing(adata: ad.AnnData, other: ad.AnnData) -> float:
    """Share of cells whose labels differ."""
    return float((adata.obs[KEY].astype(str).to_numpy() != other.obs[KEY].astype(str).to_numpy()).mean())


def beside(peer: str, package: str, verb: str, n_cells: int, n_guides: int, **options: Any) -> Work:
    """A verb of GuideAssignment, ours and the peer's; each returns the AnnData that it wrote to."""
    counts = guide_counts(n_cells, n_guides)

    def call(assigner: Any) -> Callable[[], ad.AnnData]:
        adata = ad.AnnData(counts)

        def run() -> ad.AnnData:
            getattr(assigner, verb)(adata, **options)
            return adata

        return run

    def make_peer() -> Callable[[], ad.AnnData]:
        module = __import__(peer, fromlist=["GuideAssignment"])
        return call(module.GuideAssignment())

    return Work(call(GuideAssignment()), make_peer, package, differing)


pertpy = partial(beside, "pertpy.preprocessing", "pertpy")
rapids = partial(beside, "rapids_singlecell.ptg", "rapids-singlecell-cu13")


@case("guides_mixture", sizes=[(50_000, 1_000), (1_000_000, 5_000)])
def guides_mixture(n_cells: int, n_guides: int) -> Work:
    """The Poisson-Gauss mixture."""
    return pertpy("assign_mixture_model", n_cells, n_guides)


@case("guides_max", sizes=[(500_000, 2_000)])
def guides_max(n_cells: int, n_guides: int) -> Work:
    """The largest guide."""
    return pertpy("assign_to_max_guide", n_cells, n_guides, assignment_threshold=5)


@case("guides_mixture_gpu", sizes=[(100_000, 1_000), (500_000, 2_000)], device="cuda")
def guides_mixture_gpu(n_cells: int, n_guides: int) -> Work:
    """The Poisson-Gauss mixture."""
    return rapids("assign_mixture_model", n_cells, n_guides)


@case("guides_max_gpu", sizes=[(500_000, 2_000)], device="cuda")
def guides_max_gpu(n_cells: int, n_guides: int) -> Work:
    """The largest guide."""
    return rapids("assign_to_max_guide", n_cells, n_guides, assignment_threshold=5)
