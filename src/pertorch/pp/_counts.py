"""Guide counts: opened once, checked once, read in slabs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data import DeviceCsr, Matrix, Slab, as_matrix
from pertorch.data._slots import expression
from pertorch.data._storage import canonical
from pertorch.data._tasks import count_tasks
from pertorch.exec import Kept, compute_tasks, map_ahead, progress_bar, track, with_less_memory
from pertorch.pp import _resident
from pertorch.pp._check import check

if TYPE_CHECKING:
    from anndata import AnnData

T = TypeVar("T")
SLAB_BYTES = 2**21  # temporaries of a slab stay near the cache, whatever the size of the screen
FILE_BYTES = 2**24  # of a slab of a file: fewer reads


@final
@dataclass(frozen=True)
class Counts:
    """Cells × guides, whole numbers ≥ 0.

    Attributes
    ----------
    source
        Where they are. In memory they are canonical CSR without zeros, and checked; those of a file are checked as they
        are read, and each pass reads them once more.
    guides
        Name of each guide, in the order of the columns. Names may repeat.
    name
        Where the counts came from, for messages.
    restore
        Puts a CSR matrix of the same shape into the storage that the caller's matrix has: sparse stays sparse.
    kept
        The same counts on a GPU, if they are there.
    """

    source: Matrix
    guides: pd.Index
    name: str
    restore: Callable[[sp.csr_array], Any]
    kept: Kept[DeviceCsr] = field(default_factory=Kept)

    @property
    def resident(self) -> DeviceCsr | None:
        """Counts on a GPU, unless it has none or gave them up."""
        return next(iter(self.kept.values()), None)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × guides."""
        return self.source.shape

    @cached_property
    def matrix(self) -> sp.csr_array:
        """All of them as CSR in memory: canonical, without zeros, dtype as stored. Those of a file are kept."""
        rows = [slab for slab, _ in self._slabs()] if self.source.is_file else []
        if not rows:
            return self.source.counts()
        whole = sp.vstack(rows, format="csr")
        return canonical(whole.data, whole.indices, whole.indptr, self.shape[1])

    def _slabs(self) -> Iterator[tuple[sp.csr_array, slice]]:
        for slab in self.source.count_slabs(FILE_BYTES if self.source.is_file else SLAB_BYTES):
            if self.source.is_file:
                check(slab.rows, self.name, slab.start)
            yield slab.rows, slab.cells

    def map(self, work: Callable[[sp.csr_array, slice], T]) -> Iterator[T]:
        """What `work` makes of the rows of each slab and its cells, top to bottom; numpy lets threads run abreast."""
        if self.source.is_dask:
            tasks = self.tasks(work)
            with progress_bar(lambda: len(tasks), "guide counts", unit="chunks") as bar:
                return iter(compute_tasks(tasks, lambda _: bar.update(1)))
        slabs = track(self._slabs(), self.shape[0], "guide counts", unit="cells", size=lambda slab: slab[0].shape[0])
        return map_ahead(lambda slab: work(*slab), slabs)

    def tasks(self, work: Callable[[sp.csr_array, slice], T]) -> list[Any]:
        """The same of counts in a Dask array: a task for each chunk, for its workers."""
        return count_tasks(self.source, partial(_checked, self.name, work))


def _checked(name: str, work: Callable[[sp.csr_array, slice], T], slab: Slab) -> T:
    check(slab.rows, name, slab.start)
    return work(slab.rows, slab.cells)


def open_counts(
    data: AnnData | Any,
    layer: str | None = None,
    var: pd.DataFrame | None = None,
    device: torch.device | None = None,
) -> Counts:
    """Open guide counts, from an AnnData or from a bare array, and check that they are counts.

    Those of a file, or of a Dask array, stay there, and are checked as they are read.

    Parameters
    ----------
    data
        AnnData (in memory, a view, or backed), or cells × guides as any array that pertorch reads.
    layer
        Key in ``adata.layers``; ``None`` is ``adata.X``. For AnnData only.
    var
        For a bare array: the frame whose index names the guides. Default: a DataFrame's columns, else "0", "1", ….
    device
        A GPU that they may be copied to.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError
        If there is no guide, or a count is negative, NaN, infinite or fractional.
    """
    original, name = _stored(data, layer)
    on_gpu = None if device is None else _resident.resident(original, device)
    stored = original
    if on_gpu is not None:  # which vouches for them
        stored = canonical(stored.data, stored.indices, stored.indptr, stored.shape[1])
    source = matrix = as_matrix(stored, name)
    if on_gpu is None and not matrix.is_file:
        source = as_matrix(matrix.counts(), name)
    guides = data.var_names if is_anndata(data) else _guide_names(data, var, source.shape[1])
    if source.shape[1] == 0:
        raise ValueError(f"{name} has no guides: its shape is {source.shape}.")
    kept = Kept({} if on_gpu is None else {on_gpu.values.device: on_gpu})
    counts = Counts(source, guides, name, _restorer(original, sparse=matrix.is_sparse), kept)
    if on_gpu is None and not source.is_file:
        for _ in counts.map(lambda rows, cells: check(rows, name, cells.start)):
            pass
    return counts


def with_counts(
    work: Callable[[Counts], T],
    data: AnnData | Any,
    layer: str | None,
    var: pd.DataFrame | None,
    device: torch.device,
) -> T:
    """What `work` makes of :func:`open_counts`; a device that has no room is asked again, for less, and at last not."""
    return with_less_memory(device, lambda: work(open_counts(data, layer, var, device)))


def _stored(data: Any, layer: str | None) -> tuple[Any, str]:
    """The matrix that the caller means, and what to call it."""
    if not is_anndata(data):
        if layer is not None:
            raise ValueError(f"layer={layer!r} needs an AnnData, not a {type(data).__name__}.")
        return data, "data"
    return expression(data, layer)


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

    def chosen(slab: sp.csr_array, cells: slice) -> tuple[NDArray[Any], NDArray[np.int64]]:
        entry = np.flatnonzero(decide(slab, cells))
        return slab.indices[entry], np.diff(np.searchsorted(entry, slab.indptr))

    parts = list(counts.map(chosen))
    indices = np.concatenate([np.zeros(0, dtype=np.int32), *(kept for kept, _ in parts)])
    indptr = np.cumsum(np.concatenate([[0], *(lengths for _, lengths in parts)])).astype(indices.dtype, copy=False)
    return canonical(np.ones(len(indices), dtype=np.int8), indices, indptr, counts.shape[1])


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
    if (there := counts.resident) is not None:
        return _resident.above(there, threshold)
    return select(counts, lambda slab, _: slab.data >= (threshold[slab.indices] if threshold.ndim else threshold))


def cell_totals(counts: Counts) -> NDArray[np.int64]:
    """Total count of each cell, shape ``(n_obs,)``."""

    def totals(slab: sp.csr_array, _: slice) -> NDArray[np.int64]:
        running = np.concatenate([[0], np.cumsum(slab.data, dtype=np.int64)])
        return np.diff(running[slab.indptr])

    return np.concatenate([np.zeros(0, dtype=np.int64), *counts.map(totals)])


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


def _restorer(stored: Any, *, sparse: bool) -> Callable[[sp.csr_array], Any]:
    if not sparse:
        return lambda csr: csr.toarray()
    form = "csc" if getattr(stored, "format", "csr") == "csc" else "csr"
    if isinstance(stored, sp.sparray):
        return lambda csr: csr.asformat(form)
    kind = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}[form]
    return lambda csr: kind(csr)
