"""What every home of a matrix can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data._storage._convert import canonical_csr
from pertorch.exec import memory_budget, read_ahead, upload

SLAB_BYTES = 64 * 2**20  # read at once from a file
PASS_PARTS = 8  # of the budget, that rows take which cost a pass over a file: two such runs, and copies on the way
Rows = Any  # ndarray, torch.Tensor, or csr_array in canonical form: numbers as stored, in native byte order


class Storage(ABC):
    """A matrix of numbers.

    Attributes
    ----------
    shape
        Cells × features.
    dtype
        As stored.
    is_sparse
        Whether its rows come as CSR.
    is_file
        Whether rows come fast only in the order of storage.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any] | torch.dtype
    is_sparse: bool = False
    is_file: bool = False

    @property
    def entries_per_row(self) -> float:
        """Numbers stored for a row, on average."""
        return float(self.shape[1])

    @property
    def host(self) -> torch.Tensor | None:
        """The dense array in host memory that it is, or ``None``."""
        return None

    @abstractmethod
    def runs(self, nbytes: int) -> Iterator[slice]:
        """Successive rows, from the first to the last, that are best read together: about `nbytes` as stored."""

    @abstractmethod
    def read(self, rows: slice) -> Rows:
        """A run of rows, on the host."""

    @abstractmethod
    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> Rows:
        """These rows in this order, of them these columns: as CSR, or as a tensor on the device of `index`."""


class OnFile(Storage):
    """A matrix that is read from a file, or computed, in its own order.

    Parameters
    ----------
    name
        What the matrix is called in messages.
    """

    is_file = True
    dtype: np.dtype[Any]

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def entry_bytes(self) -> int:
        """Of a number that is stored, with where it stands."""
        return self.dtype.itemsize

    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> Rows:
        """One pass over the rows from the first that is wanted to the last; see :class:`Storage`."""
        wanted = index.cpu().numpy()
        order = np.argsort(wanted, kind="stable")
        picked = self._picked(wanted[order], columns)
        if not self.is_sparse:
            out = np.empty((len(wanted), self.shape[1] if columns is None else len(columns)), dtype=self.dtype)
            for at, rows in picked:
                out[order[at]] = rows
            return upload(torch.from_numpy(out), index.device)
        parts = [rows for _, rows in picked]
        n_columns = self.shape[1] if columns is None else len(columns)
        stacked = sp.vstack(parts, format="csr") if parts else sp.csr_array((0, n_columns), dtype=self.dtype)
        del parts
        if np.array_equal(order, np.arange(len(order))):
            return canonical(stacked.data, stacked.indices, stacked.indptr, n_columns)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return sp.csr_array(stacked)[back]

    def _picked(self, ascending: NDArray[np.int64], columns: NDArray[np.int64] | None) -> Iterator[tuple[slice, Rows]]:
        """Rows wanted, slab by slab, and which of all rows wanted they are."""

        def read(at: slice) -> tuple[slice, Rows]:
            mine = ascending[at]
            rows = self.read(slice(int(mine[0]), int(mine[-1]) + 1))
            if rows.shape[0] != len(mine) or np.any(np.diff(mine) != 1):
                rows = rows[mine - mine[0]]
            return at, rows if columns is None else _narrowed(rows, columns)

        ends = [np.searchsorted(ascending, [run.start, run.stop]) for run in self.runs(SLAB_BYTES)]
        yield from read_ahead(read, [slice(*map(int, end)) for end in ends if end[0] < end[1]])


@contextmanager
def reading(file: object, name: str, rows: slice | None = None) -> Iterator[None]:
    """What goes wrong inside is the file's fault: say which file and which matrix."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # h5py, zarr and the codecs of either raise what they like
        where = "" if rows is None else f"rows {rows.start} to {rows.stop - 1} of "
        raise OSError(
            f"{file}: {where}{name} cannot be read ({error}). The file is damaged or incomplete: "
            "copy or write it again."
        ) from error


def canonical(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], n_columns: int) -> sp.csr_array:
    """CSR known to be canonical, which spares scipy the look."""
    out = sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_columns))
    out.has_canonical_format = True
    return out


def row_runs(n_rows: int, row_bytes: float, nbytes: int, together: int = 1) -> Iterator[slice]:
    """Runs of equal length, a multiple of the number of rows that are stored `together`."""
    step = max(1, int(nbytes // max(1, row_bytes)))
    step = max(together, step - step % together)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def long_runs(storage: OnFile, nbytes: int) -> Iterator[slice]:
    """Runs as long as memory allows, of rows any run of which costs a pass over the whole file."""
    most = memory_budget(torch.device("cpu")) // PASS_PARTS
    return row_runs(storage.shape[0], storage.entries_per_row * storage.entry_bytes, max(nbytes, most))


def entry_runs(indptr: NDArray[Any], most: int) -> Iterator[slice]:
    """Runs of rows with at most so many entries, at least one row each."""
    start, n_rows = 0, len(indptr) - 1
    while start < n_rows:
        stop = int(np.searchsorted(indptr, int(indptr[start]) + most, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop


def cut(rows: Rows, nbytes: int) -> Iterator[tuple[int, Rows]]:
    """Views of successive rows of about `nbytes`, each with the position of its first."""
    if not sp.issparse(rows):
        for run in row_runs(rows.shape[0], rows.shape[1] * rows.dtype.itemsize, nbytes):
            yield run.start, rows[run]
        return
    for run in entry_runs(rows.indptr, nbytes // (rows.dtype.itemsize + rows.indices.itemsize)):
        yield run.start, csr_run(rows, run)


def _narrowed(rows: Rows, columns: NDArray[np.int64]) -> Rows:
    return canonical_csr(rows[:, columns]) if sp.issparse(rows) else rows[:, columns]


def csr_run(rows: sp.csr_array, run: slice) -> sp.csr_array:
    """A run of rows of a canonical CSR matrix, whose arrays it shares."""
    if run.start == 0 and run.stop == rows.shape[0]:
        return rows
    low, high = int(rows.indptr[run.start]), int(rows.indptr[run.stop])
    indptr = rows.indptr[run.start : run.stop + 1] - low
    return canonical(rows.data[low:high], rows.indices[low:high], indptr, rows.shape[1])
