"""A matrix worked on where it is: slab by slab here, or as tasks of Dask whose results alone travel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data._matrix import Matrix, Slab, as_counts, densify
from pertorch.data._storage import SLAB_BYTES, CsrArray, DaskRows, HostArray, TorchArray
from pertorch.exec import compute_tasks, map_reduce, progress_bar, reduce_tasks, shared, task, track

R = TypeVar("R")


def reduce_slabs(
    matrix: Matrix, work: Callable[[Slab, Any], R], merge: Callable[[list[R]], R], of_rows: NDArray[Any]
) -> R:
    """Merge what `work` makes of every slab, in a tree whose shape the number of slabs alone decides.

    Slabs of a matrix in memory or in a file are worked on here, one pass in all. Chunks of Dask are tasks:
    nothing but results leaves the workers.

    Parameters
    ----------
    matrix
        At least one row.
    work
        Called with a slab, and with what `of_rows` has for its rows. For Dask, a function of a module, or a task that
        gives what can be called.
    merge
        From results of neighbouring slabs to one of their kind. For Dask, a function of a module.
    of_rows
        An array whose first axis goes by row.

    Raises
    ------
    ValueError, OSError
        As :meth:`Matrix.slabs`.
    """
    what = f"pass over {matrix.name}"
    if not isinstance(matrix._storage, DaskRows):
        slabs = track(matrix.slabs(SLAB_BYTES), matrix.shape[0], what, unit="cells", size=lambda s: s.rows.shape[0])
        return map_reduce(slabs, lambda slab: work(slab, of_rows[slab.cells]), merge)
    tasks, sizes = slab_tasks(matrix, work, of_rows), chunk_sizes(matrix)
    with progress_bar(lambda: matrix.shape[0], what, unit="cells") as bar:
        found: R = compute_tasks([reduce_tasks(tasks, merge)], lambda i: bar.update(sizes[i]), tasks)[0]
    return found


def slab_tasks(matrix: Matrix, work: Callable[[Slab, Any], R], of_rows: NDArray[Any]) -> list[Any]:
    """Tasks of Dask, one a chunk, of what `work` makes of a slab of :meth:`Matrix.slabs`: see :func:`reduce_slabs`."""
    assert isinstance(matrix._storage, DaskRows)
    bare, chunks = _bare(matrix), matrix._storage.chunks
    return [task(_on_chunk, bare, run.start, chunk, work, shared(of_rows[run])) for run, chunk in chunks]


def chunk_sizes(matrix: Matrix) -> list[int]:
    """Rows of each chunk of Dask, in the order of :func:`slab_tasks`."""
    assert isinstance(matrix._storage, DaskRows)
    return [run.stop - run.start for run, _ in matrix._storage.chunks]


def count_tasks(matrix: Matrix, work: Callable[[Slab], R]) -> list[Any]:
    """Tasks of Dask, one a chunk, of what `work` makes of a slab of :meth:`Matrix.count_slabs`."""
    from dask.delayed import delayed

    assert isinstance(matrix._storage, DaskRows)
    everywhere = delayed(work, traverse=False)  # once, whatever it brings along
    return [task(_on_counts, run.start, chunk, everywhere) for run, chunk in matrix._storage.chunks]


def rows_task(matrix: Matrix, index: NDArray[np.int64]) -> Any:
    """The task of Dask that gives :meth:`Matrix.rows`, on the host: where it runs, rows are gathered from chunks."""
    assert isinstance(matrix._storage, DaskRows)
    return task(_dense_rows, _bare(matrix), matrix._storage.task(index), shared(index))


def taken_task(matrix: Matrix, index: NDArray[np.int64]) -> Any:
    """The task of Dask that gives :meth:`Matrix.taken`, where it runs."""
    assert isinstance(matrix._storage, DaskRows)
    return task(_taken, _bare(matrix), matrix._storage.task(index), shared(index))


def _bare(matrix: Matrix) -> Any:
    """A matrix of no rows by the same name and dtype: what a task needs to check the rows it gets."""
    from dask.delayed import delayed

    none: NDArray[Any] = np.empty((0, matrix.shape[1]), np.dtype(str(matrix._storage.dtype)))
    return delayed(Matrix(matrix.name, HostArray(none), matrix.dtype))


def _on_chunk(bare: Matrix, start: int, stored: Any, work: Callable[[Slab, Any], R], of_rows: Any) -> R:
    index = np.arange(start, start + stored.shape[0])
    rows = bare._checked_csr(stored, index) if sp.issparse(stored) else bare._checked(stored, index)
    return work(Slab(start, rows), of_rows)


def _on_counts(start: int, stored: Any, work: Callable[[Slab], R]) -> R:
    return work(Slab(start, as_counts(stored)))


def _taken(bare: Matrix, stored: Any, index: NDArray[np.int64]) -> Matrix:
    sparse = sp.issparse(stored)
    rows = bare._checked_csr(stored, index) if sparse else bare._checked(stored, index)
    return Matrix(bare.name, CsrArray(rows) if sparse else TorchArray(rows), bare.dtype)


def _dense_rows(bare: Matrix, stored: Any, index: NDArray[np.int64]) -> torch.Tensor:
    if sp.issparse(stored):
        return densify(bare._checked_csr(stored, index), torch.device("cpu"))
    return bare._checked(stored, index)
