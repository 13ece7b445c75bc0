"""Guide counts: opened once, checked once, held as CSR."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data import open_matrix
from pertorch.data._matrix import as_matrix

if TYPE_CHECKING:
    from anndata import AnnData

SLAB_NONZEROS = 2**20  # temporaries of a slab stay near the cache, whatever the screen's size
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

    def slabs(self) -> Iterator[sp.csr_array]:
        """Runs of whole rows, top to bottom, each of about `SLAB_NONZEROS` entries, as views."""
        m = self.matrix
        n_rows = m.shape[0]
        start = 0
        while start < n_rows:
            stop = int(np.searchsorted(m.indptr, int(m.indptr[start]) + SLAB_NONZEROS, side="right")) - 1
            stop = min(max(stop, start + 1), n_rows)
            low, high = int(m.indptr[start]), int(m.indptr[stop])
            yield _csr(m.data[low:high], m.indices[low:high], m.indptr[start : stop + 1] - low, m.shape[1])
            start = stop


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
        matrix = as_matrix(data.X, "X") if layer is None else open_matrix(data, layer_key=layer)
        stored = data.X if layer is None or (layer == "X" and "X" not in data.layers) else data.layers[layer]
        guides = data.var_names
    else:
        if layer is not None:
            raise ValueError(f"layer={layer!r} needs an AnnData, not a {type(data).__name__}.")
        matrix, stored = as_matrix(data, "data"), data
        guides = _guide_names(data, var, matrix.shape[1])
    if matrix.shape[1] == 0:
        raise ValueError(f"{matrix.name} has no guides: its shape is {matrix.shape}.")
    counts = matrix.counts()
    _check(counts, matrix.name)
    return Counts(counts, guides, matrix.name, _restorer(stored, sparse=matrix.is_sparse))


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
    kept, lengths, start = [], [], 0
    for slab in counts.slabs():
        chosen = decide(slab, slice(start, start + slab.shape[0]))
        kept.append(slab.indices[chosen])
        lengths.append(row_sums(chosen, slab.indptr))
        start += slab.shape[0]
    indices = np.concatenate([np.zeros(0, dtype=matrix.indices.dtype), *kept])
    indptr = np.zeros(matrix.shape[0] + 1, dtype=matrix.indptr.dtype)
    np.cumsum(np.concatenate([np.zeros(0, dtype=np.int64), *lengths]), out=indptr[1:])
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


def row_sums(values: NDArray[Any], indptr: NDArray[Any]) -> NDArray[np.int64]:
    """Sum of each row of a CSR pattern, exact for whole numbers."""
    total = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, dtype=np.int64, out=total[1:])
    return np.diff(total[indptr])


def cell_totals(counts: Counts) -> NDArray[np.int64]:
    """Total count of each cell, shape ``(n_obs,)``."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *(row_sums(s.data, s.indptr) for s in counts.slabs())])


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


def _check(counts: sp.csr_array, name: str) -> None:
    data, step = counts.data, 2**17  # a step's few masks stay in the cache
    for start in range(0, len(data), step):
        part = data[start : start + step]
        good = (part >= 0) & (part <= MOST)  # false for NaN
        if part.dtype.kind == "f":
            good &= np.rint(part) == part
        if good.all():
            continue
        at = start + int(np.argmin(good))
        row = int(np.searchsorted(counts.indptr, at, side="right")) - 1
        raise ValueError(
            f"{name} holds {data[at]} at cell {row}, guide {int(counts.indices[at])}, which is not a count: guide "
            "assignment needs raw UMI counts, whole numbers that are not negative. Pass the layer that holds them."
        )


def _restorer(stored: Any, *, sparse: bool) -> Callable[[sp.csr_array], Any]:
    if not sparse:
        return lambda csr: csr.toarray()
    form = "csc" if getattr(stored, "format", "csr") == "csc" else "csr"
    if isinstance(stored, sp.sparray):
        return lambda csr: csr.asformat(form)
    kind = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}[form]
    return lambda csr: kind(csr)
