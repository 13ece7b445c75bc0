"""Guide counts: opened once, checked once, held as CSR."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data._matrix import _lookup, as_matrix

if TYPE_CHECKING:
    from anndata import AnnData

T = TypeVar("T")

SLAB_NONZEROS = 2**18  # temporaries of a slab stay near the cache, whatever the size of the screen
MOST = 2**40  # count × number of guides fits an int64 below this; no cell holds as many molecules


@final
@dataclass(frozen=True)
class Counts:
    """Cells × guides, whole numbers ≥ 0.

    Attributes
    ----------
    matrix
        CSR in canonical form without explicit zeros, dtype as stored.
    guides
        Name of each guide, in the order of the columns. Names may repeat.
    name
        Where the counts came from, for messages.
    restore
        Puts a CSR matrix of the same shape into the storage that the caller's matrix has: sparse stays sparse.
    """

    matrix: sp.csr_array
    guides: pd.Index
    name: str
    restore: Callable[[sp.csr_array], Any]

    def slabs(self) -> list[tuple[sp.csr_array, slice]]:
        """Runs of whole rows, top to bottom, each of about `SLAB_NONZEROS` entries, as views; and the cells of each."""
        m, out, start = self.matrix, [], 0
        while start < m.shape[0]:
            stop = int(np.searchsorted(m.indptr, int(m.indptr[start]) + SLAB_NONZEROS, side="right")) - 1
            stop = min(max(stop, start + 1), m.shape[0])
            low, high = int(m.indptr[start]), int(m.indptr[stop])
            slab = _csr(m.data[low:high], m.indices[low:high], m.indptr[start : stop + 1] - low, m.shape[1])
            out.append((slab, slice(start, stop)))
            start = stop
        return out

    def map(self, work: Callable[[sp.csr_array, slice], T]) -> list[T]:
        """What `work` makes of each slab and its cells, top to bottom; numpy lets threads run side by side."""
        slabs = self.slabs()
        if len(slabs) <= 1:
            return [work(*slab) for slab in slabs]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(work, *zip(*slabs, strict=True)))


def open_counts(data: AnnData | Any, layer: str | None = None, var: pd.DataFrame | None = None) -> Counts:
    """Open guide counts, from an AnnData or from a bare array, and check that they are counts.

    Parameters
    ----------
    data
        AnnData (in memory, a view, or backed), or cells × guides as any array that pertorch reads.
    layer
        Key in ``adata.layers``; ``None`` is ``adata.X``. For AnnData only.
    var
        For a bare array: the frame whose index names the guides. Default: a DataFrame's columns, else "0", "1", ….

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError
        If there is no guide, or a count is negative, NaN, infinite or fractional.
    """
    if is_anndata(data):
        name = "X" if layer is None or (layer == "X" and "X" not in data.layers) else f"layers[{layer!r}]"
        stored = data.X if name == "X" else _lookup(data.layers, str(layer), "layers", ["X"])
    elif layer is not None:
        raise ValueError(f"layer={layer!r} needs an AnnData, not a {type(data).__name__}.")
    else:
        name, stored = "data", data
    matrix = as_matrix(stored, name)
    guides = data.var_names if is_anndata(data) else _guide_names(data, var, matrix.shape[1])
    if matrix.shape[1] == 0:
        raise ValueError(f"{name} has no guides: its shape is {matrix.shape}.")
    counts = Counts(matrix.counts(), guides, name, _restorer(stored, sparse=matrix.is_sparse))
    _check(counts)
    return counts


def is_anndata(data: Any) -> bool:
    """Whether this is an AnnData, known by what it offers, so that a bare array needs no import of it."""
    return hasattr(data, "var_names") and hasattr(data, "obs")


def select(counts: Counts, decide: Callable[[sp.csr_array, slice], NDArray[np.bool_]]) -> sp.csr_array:
    """Assign a guide where `decide` says so: cells × guides, int8, only the ones stored.

    Parameters
    ----------
    counts
        Guide counts.
    decide
        From a slab and the cells that it holds to a decision for each of its entries.
    """
    matrix = counts.matrix

    def chosen(slab: sp.csr_array, cells: slice) -> tuple[NDArray[Any], NDArray[np.int64]]:
        entry = np.flatnonzero(decide(slab, cells))
        return slab.indices[entry], np.diff(np.searchsorted(entry, slab.indptr))

    parts = counts.map(chosen)
    indices = np.concatenate([np.zeros(0, dtype=matrix.indices.dtype), *(kept for kept, _ in parts)])
    indptr = np.zeros(matrix.shape[0] + 1, dtype=matrix.indptr.dtype)
    np.cumsum(np.concatenate([np.zeros(0, dtype=np.int64), *(lengths for _, lengths in parts)]), out=indptr[1:])
    return _csr(np.ones(len(indices), dtype=np.int8), indices, indptr, matrix.shape[1])


def above(counts: Counts, threshold: NDArray[np.float64] | float) -> sp.csr_array:
    """Assign a guide where its count reaches its threshold.

    Parameters
    ----------
    counts
        Guide counts.
    threshold
        One for all, or one per guide, positive; a guide whose threshold is NaN gets no cell.
    """
    threshold = np.asarray(threshold, dtype=np.float64)
    return select(counts, lambda slab, _: slab.data >= (threshold[slab.indices] if threshold.ndim else threshold))


def cell_totals(counts: Counts) -> NDArray[np.int64]:
    """Total count of each cell, shape ``(n_obs,)``."""

    def totals(slab: sp.csr_array, _: slice) -> NDArray[np.int64]:
        running = np.concatenate([[0], np.cumsum(slab.data, dtype=np.int64)])
        return np.diff(running[slab.indptr])

    return np.concatenate([np.zeros(0, dtype=np.int64), *counts.map(totals)])


def _csr(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], n_columns: int) -> sp.csr_array:
    out = sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_columns))
    out.has_canonical_format = True  # rows of a canonical matrix: spares scipy the check
    return out


def _guide_names(data: Any, var: pd.DataFrame | None, n_guides: int) -> pd.Index:
    if var is not None:
        names = pd.Index(getattr(var, "index", var))
    elif isinstance(data, pd.DataFrame):
        names = data.columns
    else:
        names = pd.RangeIndex(n_guides)
    if len(names) != n_guides:
        raise ValueError(f"var names {len(names)} guides, but data has {n_guides} columns.")
    return names.astype(str)


def _check(counts: Counts) -> None:
    matrix = counts.matrix

    def first_bad(slab: sp.csr_array, cells: slice) -> int | None:
        step = 2**17  # a step's few masks stay in the cache
        for start in range(0, slab.nnz, step):
            part = slab.data[start : start + step]
            good = (part >= 0) & (part <= MOST)  # false for NaN
            if part.dtype.kind == "f":
                good &= np.rint(part) == part
            if not good.all():
                return int(matrix.indptr[cells.start]) + start + int(np.argmin(good))
        return None

    at = next((at for at in counts.map(first_bad) if at is not None), None)
    if at is not None:
        cell = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
        raise ValueError(
            f"{counts.name} holds {matrix.data[at]} at cell {cell}, guide {int(matrix.indices[at])}, which is not a "
            "count: guide assignment needs raw UMI counts, whole numbers that are not negative. Pass the layer that "
            "holds them."
        )


def _restorer(stored: Any, *, sparse: bool) -> Callable[[sp.csr_array], Any]:
    if not sparse:
        return lambda csr: csr.toarray()
    form = "csc" if getattr(stored, "format", "csr") == "csc" else "csr"
    if isinstance(stored, sp.sparray):
        return lambda csr: csr.asformat(form)
    kind = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}[form]
    return lambda csr: kind(csr)
