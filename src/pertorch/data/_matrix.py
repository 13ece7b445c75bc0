"""Cells × features, wherever it lives: the homes are told apart in ``_storage`` and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch._settings import settings
from pertorch.data._checks import EXACT, check_exact, check_finite, entries
from pertorch.data._device_csr import DeviceCsr
from pertorch.data._slots import check_one_source, embedding, expression
from pertorch.data._storage import (
    SLAB_BYTES,
    CsrArray,
    DaskRows,
    Storage,
    TorchArray,
    canonical,
    cut,
    open_storage,
)
from pertorch.exec import Kept, may_keep, read_ahead, upload

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT_EMBEDDING = ("X_pca", "pca")
RESIDENT_SHARE = 1 / 3  # of a GPU's free memory that a sparse matrix may take


@final
class Slab(NamedTuple):
    """Successive rows of a matrix, CSR or a dense tensor on the host, and the position of the first.

    They may be the caller's own, and are only to be read.
    """

    start: int
    rows: Any

    @property
    def cells(self) -> slice:
        """Which rows of the matrix these are."""
        return slice(self.start, self.start + self.rows.shape[0])


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix of finite numbers, read in the order of storage, by rows, or by slabs of columns.

    Attributes
    ----------
    name
        Where it came from, for messages: ``obsm['X_pca']``, ``X``, ``layers['counts']``.
    """

    name: str
    _storage: Storage
    _dtype: torch.dtype | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × features."""
        return self._storage.shape

    @cached_property
    def dtype(self) -> torch.dtype:
        """What it is computed in: float64 for float64 and for integers too large for float32, else float32.

        Where `settings.dtype` asks for more, that. Integers in a file are not looked at beforehand: one that float32
        would round is refused when it is read.
        """
        return self._dtype or _compute_dtype(self._storage)

    @property
    def is_sparse(self) -> bool:
        """Whether its rows come as CSR."""
        return self._storage.is_sparse

    @property
    def is_file(self) -> bool:
        """Whether it is read from a file, or computed by Dask: rows come fast only in the order of storage."""
        return self._storage.is_file

    @property
    def is_host_array(self) -> bool:
        """Whether it is a dense array in host memory, of which single values can be had."""
        return self._storage.host is not None

    @property
    def entries_per_row(self) -> float:
        """Numbers stored for a row, on average."""
        return self._storage.entries_per_row

    def slabs(self, nbytes: int, columns: NDArray[np.int64] | None = None) -> Iterator[Slab]:
        """All rows in the order of storage, in `dtype`: CSR of a sparse matrix, else a dense tensor, on the host.

        A file is read once from its beginning to its end, the next slab while the caller works on this one: two are in
        memory at a time.

        Parameters
        ----------
        nbytes
            Of a slab as stored, at most, but one row at least. What can only be read as a whole, such as a chunk of
            Dask's, is cut when it is there.
        columns
            Of each row only these columns, in this order; ``None`` is all of them.

        Raises
        ------
        ValueError
            As :meth:`rows`, of the slab at fault.
        OSError
            If a file is damaged; the message names it and the matrix.
        """

        def make(start: int, stored: Any) -> Slab:
            stored = stored if columns is None else stored[:, columns]
            index = np.arange(start, start + stored.shape[0])
            return Slab(start, self._checked_csr(stored, index) if self.is_sparse else self._checked(stored, index))

        return self._map_slabs(nbytes, make)

    def count_slabs(self, nbytes: int) -> Iterator[Slab]:
        """As :meth:`slabs`, but of what :meth:`counts` returns: CSR without zeros, dtype as stored, not checked."""
        return self._map_slabs(nbytes, lambda start, stored: Slab(start, as_counts(stored)))

    def _map_slabs(self, nbytes: int, make: Callable[[int, Any], Slab]) -> Iterator[Slab]:
        def read(run: slice) -> list[Slab]:
            return [make(run.start + at, stored) for at, stored in cut(self._storage.read(run), nbytes)]

        runs = self._storage.runs(nbytes)
        for slabs in read_ahead(read, runs) if self.is_file else map(read, runs):
            yield from slabs

    @property
    def is_dask(self) -> bool:
        """Whether its rows are computed by Dask."""
        return isinstance(self._storage, DaskRows)

    def rows(self, index: torch.Tensor, columns: NDArray[np.int64] | None = None) -> torch.Tensor:
        """These rows as a dense tensor of `dtype`, in the order asked for, on the device of `index`.

        Of a file that is one pass over all that lies between the first of them and the last.

        Parameters
        ----------
        index
            Shape ``(n,)``, int64.
        columns
            Of these rows, only these columns, in this order; ``None`` is all of them.

        Raises
        ------
        ValueError
            If one of them holds NaN or infinity.
        """
        if (resident := self.resident(index.device)) is not None:
            out = resident.dense(index, None if columns is None else torch.from_numpy(columns).to(index.device))
            return out if self._all_finite else self._checked(out, index)
        if self.is_sparse:
            return densify(self.csr(index.cpu().numpy(), columns), index.device)
        return self._checked(self._storage.take(index, columns), index)

    def pick(self, index: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Single values of a host array: of row ``index[i]`` those at ``columns[i]``, in `dtype`, on the host.

        Parameters
        ----------
        index, columns
            Shapes ``(n,)`` and ``(n, k)``, int64, on the host.

        Raises
        ------
        ValueError
            If one of them is NaN or infinite.
        """
        values = self._storage.host
        assert values is not None
        out = values.contiguous().take(columns + index[:, None] * self.shape[1]).to(self.dtype)
        check_finite(out, index, self.name)
        return out

    def resident(self, device: torch.device) -> DeviceCsr | None:
        """The whole of a sparse matrix on a GPU, copied there once, where that leaves most of its memory free."""
        if device.type == "cpu" or not isinstance(self._storage, CsrArray):
            return None
        if device not in self._resident:
            values = self._storage.values
            nbytes = values.nnz * (self.dtype.itemsize + 4) + 8 * len(values.indptr)
            fits = may_keep(nbytes, device, RESIDENT_SHARE)
            there = next((copy for copy in list(self._resident.values()) if copy is not None), None)
            copied = there.to(device) if there and fits else None  # from another GPU, past the host
            self._resident[device] = copied or (DeviceCsr.of(values, self.dtype, device) if fits else None)
        return self._resident[device]

    @cached_property
    def _resident(self) -> Kept[DeviceCsr | None]:
        return Kept()

    def csr(self, index: NDArray[np.int64], columns: NDArray[np.int64] | None = None) -> sp.csr_array:
        """As :meth:`rows`, of a sparse matrix: CSR on the host, in `dtype`.

        Raises
        ------
        ValueError
            As for :meth:`rows`.
        """
        return self._checked_csr(self._storage.take(torch.from_numpy(index), columns), index)

    def _checked(self, stored: Any, index: torch.Tensor | NDArray[np.int64]) -> torch.Tensor:
        """Dense rows in `dtype`; `index` says which rows they are."""
        values = stored if isinstance(stored, torch.Tensor) else torch.from_numpy(stored)
        out = values.to(self.dtype)
        if self._may_round and out.numel() and float(out.abs().max()) >= EXACT:
            check_exact(values, index, self.name)
        check_finite(out, index, self.name)
        return out

    def _checked_csr(self, stored: sp.csr_array, index: NDArray[np.int64]) -> sp.csr_array:
        out = stored.astype(np.float64 if self.dtype == torch.float64 else np.float32, copy=False)
        if self._may_round and out.nnz and np.abs(out.data).max() >= EXACT:
            check_exact(*entries(stored, index), self.name)
        if not self._all_finite and not np.isfinite(out.data).all():
            check_finite(*entries(out, index), self.name)
        return out

    @property
    def _may_round(self) -> bool:
        return self.dtype == torch.float32 and _is_wide(self._storage.dtype)

    @cached_property
    def _all_finite(self) -> bool:
        """Whether one look at what a sparse matrix stores can vouch for all that is read from it."""
        if not isinstance(self._storage, CsrArray):
            return False
        copies = [copy for copy in self._resident.values() if copy is not None]
        return copies[0].all_finite if copies else bool(np.isfinite(self._storage.values.data).all())

    def columns(self, index: NDArray[np.int64], start: int, stop: int) -> sp.csc_array:
        """Columns ``start:stop`` of these rows as CSC on the host, without zeros, in `dtype`.

        Row ``i`` of it is row ``index[i]``; within a column the rows ascend.

        Raises
        ------
        ValueError
            If one of these values is NaN or infinite.
        """
        wanted = np.arange(start, min(stop, self.shape[1]))
        if not self.is_sparse:
            return sp.csc_array(self.rows(torch.from_numpy(index), wanted).numpy())
        if isinstance(self._storage, CsrArray):  # columns first is sooner
            part = CsrArray(self._storage.values[:, start:stop]).take(torch.from_numpy(index), None)
        else:
            part = self._storage.take(torch.from_numpy(index), wanted)
        out = sp.csc_array(self._checked_csr(part, index))
        out.eliminate_zeros()
        return out

    def taken(self, index: NDArray[np.int64]) -> Matrix:
        """These rows as a matrix in memory."""
        there = torch.from_numpy(index)
        storage = CsrArray(self._storage.take(there, None)) if self.is_sparse else TorchArray(self.rows(there))
        return Matrix(self.name, storage, self.dtype)

    @classmethod
    def stack(cls, first: Matrix, second: Matrix) -> Matrix:
        """The rows of one after those of the other, read into memory; sparse where both are."""
        name, parts = f"{first.name} and {second.name}", (first, second)
        if first.is_sparse and second.is_sparse:
            stored = [m._storage.take(torch.arange(m.shape[0]), None) for m in parts]
            return as_matrix(sp.vstack(stored, format="csr"), name)
        dtype = torch.promote_types(first.dtype, second.dtype)
        values = torch.cat([m.rows(torch.arange(m.shape[0])).to(dtype) for m in parts])
        return cls(name, TorchArray(values), dtype)

    def counts(self) -> sp.csr_array:
        """The whole matrix as CSR: canonical, no explicit zeros, dtype as stored."""
        if not self.is_file:
            return as_counts(self._storage.read(slice(0, self.shape[0])))
        parts = [slab.rows for slab in self.count_slabs(SLAB_BYTES)]
        whole = sp.vstack(parts or [sp.csr_array(self.shape)], format="csr")
        return canonical(whole.data, whole.indices, whole.indptr, self.shape[1])


def as_counts(stored: Any) -> sp.csr_array:
    """Rows as they are stored, as CSR without zeros."""
    if isinstance(stored, torch.Tensor):
        stored = (stored.float() if stored.dtype.itemsize == 2 else stored).numpy()
    if not sp.issparse(stored):
        stored = sp.csr_array(stored.astype(np.float32) if stored.dtype == np.float16 else stored)  # which scipy lacks
    if stored.nnz and not np.all(stored.data):
        stored = stored.copy()
        stored.eliminate_zeros()
    return stored


def densify(rows: sp.csr_array, device: torch.device) -> torch.Tensor:
    """CSR as a dense tensor on `device`, to which only the stored entries travel."""
    if device.type == "cpu":
        return torch.from_numpy(rows.toarray())
    parts = (rows.data, rows.indices, np.diff(rows.indptr))
    values, column, counts = (upload(torch.from_numpy(part), device) for part in parts)
    out = torch.zeros(rows.shape, dtype=values.dtype, device=device)
    return out.index_put_((torch.repeat_interleave(counts.long()), column.long()), values)


def open_matrix(adata: AnnData, layer_key: str | None = None, obsm_key: str | None = None) -> Matrix:
    """Open the matrix that a call is about.

    Parameters
    ----------
    adata
        Annotated data, in memory, a view, backed, or of arrays in zarr or Dask.
    layer_key
        A key of ``adata.layers``, or ``"X"`` for ``adata.X``.
    obsm_key
        A key of ``adata.obsm``. Default where neither is given: ``"X_pca"``, or ``"pca"`` where only that exists.

    Raises
    ------
    KeyError
        If the key does not exist.
    ValueError
        If both keys are given, or the values are not numbers.
    """
    check_one_source(layer_key, obsm_key)
    if layer_key is not None:
        return as_matrix(*expression(adata, layer_key))
    if obsm_key is None:
        obsm_key = next((key for key in DEFAULT_EMBEDDING if key in adata.obsm), "X_pca")
    return as_matrix(*embedding(adata, obsm_key))


def as_matrix(values: Any, name: str) -> Matrix:
    """Any two-dimensional array as a Matrix: see :func:`open_matrix`."""
    if values is None:
        raise ValueError(f"{name} is empty: this AnnData holds no such matrix.")
    storage = open_storage(values, name)
    if _kind(storage.dtype) not in "fiub":
        raise ValueError(f"{name} holds {storage.dtype}, not numbers: convert it to float32 first.")
    return Matrix(name, storage)


def _compute_dtype(storage: Storage) -> torch.dtype:
    if settings.dtype == "float64" or storage.dtype in (torch.float64, np.dtype(np.float64)):
        return torch.float64
    if not _is_wide(storage.dtype) or storage.is_file:
        return torch.float32
    stored = storage.read(slice(0, storage.shape[0]))
    stored = stored.data if storage.is_sparse else stored
    largest = max(abs(int(stored.max())), abs(int(stored.min()))) if math.prod(stored.shape) else 0
    return torch.float32 if largest <= EXACT else torch.float64


def _is_wide(dtype: np.dtype[Any] | torch.dtype) -> bool:
    """Whether it is of integers of which float32 rounds some."""
    return _kind(dtype) in "iu" and dtype.itemsize > 2


def _kind(dtype: np.dtype[Any] | torch.dtype) -> str:
    if isinstance(dtype, np.dtype):
        return dtype.kind
    return "f" if dtype.is_floating_point else "c" if dtype.is_complex else "i"
