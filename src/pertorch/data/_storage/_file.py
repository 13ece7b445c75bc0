"""Dense and compressed matrices in HDF5 and zarr files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data._storage._base import SLAB_BYTES, OnFile, entry_runs, long_runs, row_runs
from pertorch.data._storage._convert import canonical_csr, dense, native


def file_of(values: Any) -> str:
    """Where an array of h5py or zarr lies."""
    return str(values.file.filename if hasattr(values, "file") else getattr(values, "store_path", "zarr"))


@final
class FileRows(OnFile):
    """A dense dataset of h5py or array of zarr."""

    def __init__(self, values: Any, name: str) -> None:
        super().__init__(name)
        self._values = values
        self.shape = tuple(map(int, values.shape))  # type: ignore[assignment]
        self.dtype = native(values.dtype)
        self._file = file_of(values)

    def runs(self, nbytes: int) -> Iterator[slice]:
        """Whole chunks: see :class:`Storage`."""
        chunks = getattr(self._values, "shards", None) or self._values.chunks
        return row_runs(self.shape[0], self.shape[1] * self.dtype.itemsize, nbytes, chunks[0] if chunks else 1)

    def read(self, rows: slice) -> NDArray[Any]:
        """See :class:`Storage`."""
        with self.reading(self._file, rows):
            return dense(self._values[rows])


class _Compressed(OnFile):
    """A sparse matrix in a file, opened by anndata.

    Of zarr's arrays, pieces that are missing read as zeros, so what must hold between the arrays is looked at.
    """

    is_sparse = True
    axis: int

    def __init__(self, stored: Any, name: str) -> None:
        super().__init__(name)
        self._group = stored.group
        self.shape = tuple(map(int, stored.shape))  # type: ignore[assignment]
        self._file = file_of(self._group["data"])
        self.dtype = native(self._group["data"].dtype)

    @cached_property
    def _indptr(self) -> NDArray[np.int64]:
        """Read once and kept: eight bytes a row, or a column."""
        with self.reading(self._file):
            indptr: NDArray[np.int64] = np.asarray(self._group["indptr"][:]).astype(np.int64, copy=False)
            lengths = {int(self._group[part].shape[0]) for part in ("data", "indices")}
            if (
                len(indptr) != self.shape[self.axis] + 1
                or indptr[0] != 0
                or np.any(np.diff(indptr) < 0)
                or lengths != {int(indptr[-1])}
            ):
                raise ValueError("its indptr does not fit its data")
            return indptr

    @property
    def entries_per_row(self) -> float:
        """See :class:`Storage`."""
        return float(self._indptr[-1]) / max(1, self.shape[0])

    @property
    def entry_bytes(self) -> int:
        """See :class:`OnFile`."""
        return int(self.dtype.itemsize + self._group["indices"].dtype.itemsize)

    def _entries(self, run: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        """Data and indices of a run of rows (columns)."""
        low, high = int(self._indptr[run.start]), int(self._indptr[run.stop])
        data, indices = (np.asarray(self._group[part][low:high]) for part in ("data", "indices"))
        if len(data) != high - low or len(indices) != high - low:
            raise ValueError("it ends too soon")
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < self.shape[1 - self.axis]:
            raise ValueError("its indices are out of range")
        return data.astype(self.dtype, copy=False), indices


@final
class FileCsr(_Compressed):
    """CSR in a file."""

    axis = 0

    def runs(self, nbytes: int) -> Iterator[slice]:
        """See :class:`Storage`."""
        return entry_runs(self._indptr, nbytes // self.entry_bytes)

    def read(self, rows: slice) -> sp.csr_array:
        """See :class:`Storage`."""
        indptr = self._indptr[rows.start : rows.stop + 1]
        with self.reading(self._file, rows):
            data, indices = self._entries(rows)
            indptr = (indptr - indptr[0]).astype(
                np.int64 if len(data) >= 2**31 else indices.dtype
            )  # scipy wants one dtype
            return canonical_csr(sp.csr_array((data, indices, indptr), (len(indptr) - 1, self.shape[1])))


@final
class FileCsc(_Compressed):
    """CSC in a file: the rows of any run take one pass over all of it, so runs are as long as memory allows."""

    axis = 1

    def runs(self, nbytes: int) -> Iterator[slice]:
        """See :class:`Storage`."""
        return long_runs(self, nbytes)

    def read(self, rows: slice) -> sp.csr_array:
        """See :class:`Storage`."""
        n, parts = rows.stop - rows.start, []
        with self.reading(self._file, rows):
            for run in entry_runs(self._indptr, SLAB_BYTES // self.entry_bytes):
                data, row = self._entries(run)
                kept = np.flatnonzero((row >= rows.start) & (row < rows.stop))
                ends = np.searchsorted(kept, self._indptr[run.start : run.stop + 1] - self._indptr[run.start])
                ends = ends.astype(row.dtype)  # scipy wants one dtype
                parts.append(sp.csc_array((data[kept], row[kept] - rows.start, ends), (n, run.stop - run.start)))
            return canonical_csr(sp.hstack([sp.csc_array((n, 0), dtype=self.dtype), *parts], format="csc"))
