"""Dense and compressed matrices in HDF5 and zarr files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data._storage._base import SLAB_BYTES, OnFile, entry_runs, long_runs, reading, row_runs
from pertorch.data._storage._convert import canonical_csr, dense, native


def file_of(values: Any) -> str:
    """Where an array of h5py or zarr lies."""
    return str(values.file.filename if hasattr(values, "file") else getattr(values, "store_path", "zarr"))


def _check_length(stored: Any) -> None:
    """Of a file that was cut after it was opened, HDF5 gives zeros for what lay beyond."""
    file = getattr(stored, "file", None)
    if file is None or (file.driver, file.mode) != ("sec2", "r"):
        return
    if os.fstat(file.id.get_vfd_handle()).st_size < file.id.get_filesize():
        raise ValueError("it was cut short")


def _absent(values: Any) -> int:
    """Chunks of an array of zarr that its store does not have: they read as zeros, whether left out or lost."""
    return int(values.nchunks - values.nchunks_initialized) if hasattr(values, "nchunks_initialized") else 0


def _repeats_zero(indices: NDArray[Any], starts: NDArray[np.int64]) -> bool:
    """Whether a row (column) has an index of 0 twice, so that they are not those that were written."""
    repeats = np.flatnonzero((indices[1:] == 0) & (indices[:-1] == 0)) + 1
    return len(np.setdiff1d(repeats, starts)) > 0


@final
class FileRows(OnFile):
    """A dense dataset of h5py or array of zarr."""

    def __init__(self, values: Any, name: str) -> None:
        super().__init__(name)
        self._values = values
        self.shape = tuple(map(int, values.shape))  # type: ignore[assignment]
        self.dtype = native(values.dtype)
        self._file = file_of(values)
        if (absent := _absent(values)) > 0:
            warnings.warn(
                f"{self._file}: {absent} of {values.nchunks} chunks of {name} are not there, and read as zeros. Either "
                "all their values are zero, and zarr left them out when it was written, or they are lost: then copy or "
                "write it again. Written under zarr.config.set({'array.write_empty_chunks': True}) it has all of them.",
                UserWarning,
                stacklevel=4,
            )

    def runs(self, nbytes: int) -> Iterator[slice]:
        """Whole chunks: see :class:`Storage`."""
        chunks = getattr(self._values, "shards", None) or self._values.chunks
        return row_runs(self.shape[0], self.shape[1] * self.dtype.itemsize, nbytes, chunks[0] if chunks else 1)

    def read(self, rows: slice) -> NDArray[Any]:
        """See :class:`Storage`."""
        with reading(self._file, self.name, rows):
            _check_length(self._values)
            return dense(self._values[rows])


class _Compressed(OnFile):
    """A sparse matrix in a file, opened by anndata.

    Of zarr's arrays, chunks that are missing read as zeros, so what must hold between the arrays is looked at.
    """

    is_sparse = True
    axis: int

    def __init__(self, stored: Any, name: str) -> None:
        super().__init__(name)
        self._group, self._file = stored.group, file_of(stored.group)
        with reading(self._file, name):
            self.shape = tuple(map(int, stored.shape))  # type: ignore[assignment]
            self.dtype = native(self._group["data"].dtype)

    @cached_property
    def _indptr(self) -> NDArray[np.int64]:
        """Read once and kept: eight bytes a row, or a column."""
        with reading(self._file, self.name):
            indptr: NDArray[np.int64] = np.asarray(self._group["indptr"][:]).astype(np.int64, copy=False)
            lengths = {int(self._group[part].shape[0]) for part in ("data", "indices")}
            if (
                len(indptr) != self.shape[self.axis] + 1
                or indptr[0] != 0
                or np.any(np.diff(indptr) < 0)
                or lengths != {int(indptr[-1])}
            ):
                raise ValueError("its indptr does not fit its data")
            if _absent(self._group["data"]) > 0:  # which is not zero for as long as a chunk
                raise ValueError("chunks of its data are missing")
            # Zeros at the beginning are empty rows, or a chunk that is lost: then the next row has the entries of all.
            if _absent(self._group["indptr"]) > 0 and np.diff(indptr).max(initial=0) > self.shape[1 - self.axis]:
                raise ValueError("chunks of its indptr are missing")
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
        _check_length(self._group)
        data, indices = (np.asarray(self._group[part][low:high]) for part in ("data", "indices"))
        if len(data) != high - low or len(indices) != high - low:
            raise ValueError("it ends too soon")
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < self.shape[1 - self.axis]:
            raise ValueError("its indices are out of range")
        if self._may_lack_indices and _repeats_zero(indices, self._indptr[run.start : run.stop] - low):
            raise ValueError("chunks of its indices are missing")
        return data.astype(self.dtype, copy=False), indices

    @cached_property
    def _may_lack_indices(self) -> bool:
        return _absent(self._group["indices"]) > 0


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
        with reading(self._file, self.name, rows):
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
        with reading(self._file, self.name, rows):
            for run in entry_runs(self._indptr, SLAB_BYTES // self.entry_bytes):
                data, row = self._entries(run)
                kept = np.flatnonzero((row >= rows.start) & (row < rows.stop))
                ends = np.searchsorted(kept, self._indptr[run.start : run.stop + 1] - self._indptr[run.start])
                ends = ends.astype(row.dtype)  # scipy wants one dtype
                parts.append(sp.csc_array((data[kept], row[kept] - rows.start, ends), (n, run.stop - run.start)))
            return canonical_csr(sp.hstack([sp.csc_array((n, 0), dtype=self.dtype), *parts], format="csc"))
