"""Cells × features, wherever it lives. Every storage kind is told apart here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch._settings import settings
from pertorch.data._device_csr import DeviceCsr
from pertorch.data._names import nearest
from pertorch.exec import memory_budget, upload, upload_rows

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT_EMBEDDING = ("X_pca", "pca")
SLAB_BYTES = 256 * 2**20
RESIDENT_SHARE = 1 / 3  # of a GPU's free memory that a sparse matrix may take
FEW_COLUMNS = 8  # below one in so many, single values are picked from a dense matrix, else whole rows


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix of finite numbers, read by rows, or by slabs of columns.

    Attributes
    ----------
    shape
        Cells × features.
    name
        Where it came from, for messages: ``obsm['X_pca']``, ``X``, ``layers['counts']``.
    dtype
        What it is computed in: float64 for float64 and for integers too large for float32, else float32, where
        `settings.dtype` does not ask for more.
    """

    shape: tuple[int, int]
    name: str
    dtype: torch.dtype
    _values: Any  # ndarray, csr_array in canonical form, torch.Tensor, or a backed h5py.Dataset

    @property
    def is_sparse(self) -> bool:
        """Whether it is stored as CSR."""
        return sp.issparse(self._values)

    @property
    def is_file(self) -> bool:
        """Whether it is read from a file, which gives rows fast only in its own order."""
        return not (self.is_sparse or isinstance(self._values, np.ndarray | torch.Tensor))

    @property
    def is_host_array(self) -> bool:
        """Whether it is a dense array in host memory, of which single values can be had."""
        values = self._values
        return isinstance(values, np.ndarray) or (isinstance(values, torch.Tensor) and values.device.type == "cpu")

    @property
    def entries_per_row(self) -> float:
        """Numbers stored for a row, on average."""
        return self._values.nnz / max(1, self.shape[0]) if self.is_sparse else float(self.shape[1])

    def rows(self, index: torch.Tensor, columns: NDArray[np.int64] | None = None) -> torch.Tensor:
        """These rows as a dense tensor of `dtype`, in the order asked for, on the device of `index`.

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
        else:
            out = self._read(index, columns).to(self.dtype)
        if not self._all_finite and not _finite(out):
            bad = torch.nonzero(~torch.isfinite(out).all(1))[:, 0].cpu().numpy()
            raise ValueError(self._not_finite(index.cpu().numpy(), bad))
        return out

    def _read(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> torch.Tensor:
        values, device = self._values, index.device
        if self.is_sparse and columns is None:
            return densify(self.csr(index.cpu().numpy()), device)
        few = columns is not None and len(columns) * FEW_COLUMNS < self.shape[1]
        if isinstance(values, np.ndarray) and device.type != "cpu" and not few:
            values = torch.from_numpy(values)
        if not isinstance(values, torch.Tensor):
            return torch.from_numpy(np.ascontiguousarray(self._take(index.cpu().numpy(), columns))).to(device)
        if few:
            return values[index.to(values.device)[:, None], torch.from_numpy(columns).to(values.device)].to(device)
        if values.device == device:
            out = values[index]
        else:
            out = _sent(values, index, device)
        return out if columns is None else out[:, torch.from_numpy(columns).to(device)]

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
        values = self._values if isinstance(self._values, torch.Tensor) else torch.from_numpy(self._values)
        out = values.contiguous().take(columns + index[:, None] * self.shape[1]).to(self.dtype)
        if not torch.isfinite(out).all():
            bad = torch.nonzero(~torch.isfinite(out).all(1))[:, 0].numpy()
            raise ValueError(self._not_finite(index.numpy(), bad))
        return out

    def resident(self, device: torch.device) -> DeviceCsr | None:
        """The whole of a sparse matrix on a GPU, copied there once, where that leaves most of its memory free."""
        if device.type == "cpu" or not self.is_sparse:
            return None
        if device not in self._resident:
            values = self._values
            nbytes = values.nnz * (self.dtype.itemsize + 4) + 8 * len(values.indptr)
            most = RESIDENT_SHARE * _free_bytes(device)
            fits = nbytes <= (most if settings.memory_gb is None else min(most, memory_budget(device)))
            self._resident[device] = DeviceCsr.of(values, self.dtype, device) if fits else None
        return self._resident[device]

    @cached_property
    def _resident(self) -> dict[torch.device, DeviceCsr | None]:
        return {}

    def csr(self, index: NDArray[np.int64]) -> sp.csr_array:
        """These rows of a sparse matrix as CSR on the host, in `dtype` and in the order asked for.

        Raises
        ------
        ValueError
            As for :meth:`rows`.
        """
        out = self._values[index].astype(np.float64 if self.dtype == torch.float64 else np.float32, copy=False)
        if not self._all_finite and not (finite := np.isfinite(out.data)).all():
            row = np.repeat(np.arange(len(index)), np.diff(out.indptr))
            raise ValueError(self._not_finite(index, np.unique(row[~finite])))
        return out

    @cached_property
    def _all_finite(self) -> bool:
        """Whether one look at what a sparse matrix stores can vouch for all that is read from it."""
        if not self.is_sparse:
            return False
        copies = [copy for copy in self._resident.values() if copy is not None]
        return copies[0].all_finite if copies else bool(np.isfinite(self._values.data).all())

    def columns(self, index: NDArray[np.int64], start: int, stop: int) -> sp.csc_array:
        """Columns ``start:stop`` of these rows as CSC on the host, without zeros, in `dtype`.

        Row ``i`` of it is row ``index[i]``; within a column the rows ascend.

        Raises
        ------
        ValueError
            If one of these values is NaN or infinite.
        """
        if not self.is_sparse:
            return sp.csc_array(self.rows(torch.from_numpy(index), np.arange(start, min(stop, self.shape[1]))).numpy())
        part = self._values[:, start:stop][index].astype(np.float64 if self.dtype == torch.float64 else np.float32)
        out = sp.csc_array(part)
        out.eliminate_zeros()
        if not self._all_finite and not np.isfinite(out.data).all():
            self.csr(index)  # raises, and names the row
        return out

    def taken(self, index: NDArray[np.int64]) -> Matrix:
        """These rows as a matrix in memory."""
        values = self._values[index] if self.is_sparse else self.rows(torch.from_numpy(index))
        return Matrix((len(index), self.shape[1]), self.name, self.dtype, values)

    @classmethod
    def stack(cls, first: Matrix, second: Matrix) -> Matrix:
        """The rows of one after those of the other, read into memory; sparse where both are."""
        name = f"{first.name} and {second.name}"
        if first.is_sparse and second.is_sparse:
            return as_matrix(sp.vstack([first._values, second._values], format="csr"), name)
        parts = [m.rows(torch.arange(m.shape[0])) for m in (first, second)]
        dtype = torch.promote_types(first.dtype, second.dtype)
        values = torch.cat([part.to(dtype) for part in parts])
        return cls((len(values), first.shape[1]), name, dtype, values)

    def counts(self) -> sp.csr_array:
        """The whole matrix as CSR: canonical, no explicit zeros, dtype as stored."""
        values = self._values
        if isinstance(values, torch.Tensor):
            values = (values.float() if values.dtype.itemsize == 2 else values).cpu().numpy()
        if not sp.issparse(values):
            values = _dense(values[:])
            values = values.astype(np.float32) if values.dtype == np.float16 else values  # which scipy lacks
        counts = sp.csr_array(values)
        if counts.nnz and not np.all(counts.data):
            counts = counts.copy()
            counts.eliminate_zeros()
        return counts

    def _take(self, index: NDArray[np.int64], columns: NDArray[np.int64] | None = None) -> NDArray[Any]:
        values = self._values
        if sp.issparse(values):
            return (values[index] if columns is None else values[index][:, columns]).toarray()
        if isinstance(values, np.ndarray):
            return values[index] if columns is None else values[np.ix_(index, columns)]
        # A file gives rows fast only in its own order: read slabs, keep what is wanted, put it where it belongs.
        wanted = np.arange(self.shape[1]) if columns is None else columns
        out = np.empty((len(index), len(wanted)), dtype=values.dtype.newbyteorder("="))
        place = np.full(self.shape[0], -1)
        place[index] = np.arange(len(index))
        step = max(1, SLAB_BYTES // max(1, self.shape[1] * values.dtype.itemsize))
        first, stop = (int(index.min()), int(index.max()) + 1) if len(index) else (0, 0)
        for start in range(first, stop, step):
            at = place[start : min(start + step, stop)]
            out[at[at >= 0]] = values[start : start + len(at)][at >= 0][:, wanted]
        return out

    def _not_finite(self, index: NDArray[np.int64], bad: NDArray[np.int64]) -> str:
        return (
            f"{self.name} holds NaN or infinity in {len(bad)} cell(s), the first at row {int(index[bad[0]])}: "
            "remove those cells or impute the values."
        )


def _sent(values: torch.Tensor, index: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows of a host's tensor on a device.

    A copy runs at the bus's speed in the order of storage: rows that lie close together are sent with what lies between
    them, and the device picks.
    """
    if not len(index):
        return values[:0].to(device)
    first, last = (int(end) for end in torch.aminmax(index))
    if 2 * len(index) < last + 1 - first:
        return upload_rows(values, index, device)
    return upload(values[first : last + 1], device)[index - first]


def _free_bytes(device: torch.device) -> int:
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + cached)


def _finite(values: torch.Tensor) -> bool:
    if values.device.type == "cpu":
        return bool(np.isfinite(values.numpy()).all())  # many times sooner than torch where the values are few
    return bool(torch.isfinite(values).all())


def densify(rows: sp.csr_array, device: torch.device) -> torch.Tensor:
    """CSR as a dense tensor on `device`, to which only the stored entries travel."""
    if device.type == "cpu":
        return torch.from_numpy(rows.toarray())
    values, column, counts = (torch.from_numpy(a).to(device) for a in (rows.data, rows.indices, np.diff(rows.indptr)))
    out = torch.zeros(rows.shape, dtype=values.dtype, device=device)
    return out.index_put_((torch.repeat_interleave(counts.long()), column.long()), values)


def open_matrix(adata: AnnData, layer_key: str | None = None, obsm_key: str | None = None) -> Matrix:
    """Open the matrix that a call is about.

    Parameters
    ----------
    adata
        Annotated data, in memory, a view, or backed.
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
    if layer_key is not None and obsm_key is not None:
        raise ValueError(f"layer_key={layer_key!r} and obsm_key={obsm_key!r} exclude each other: give one of them.")
    if layer_key is not None:
        if layer_key == "X" and "X" not in adata.layers:
            return as_matrix(adata.X, "X")
        return as_matrix(_lookup(adata.layers, layer_key, "layers", ["X"]), f"layers[{layer_key!r}]")
    if obsm_key is None:
        obsm_key = next((key for key in DEFAULT_EMBEDDING if key in adata.obsm), "X_pca")
    return as_matrix(_lookup(adata.obsm, obsm_key, "obsm", []), f"obsm[{obsm_key!r}]")


def _lookup(mapping: Any, key: str, attribute: str, also: list[str]) -> Any:
    if key not in mapping:
        hint = " Compute it, for instance with scanpy.pp.pca(adata)." if key == "X_pca" else ""
        raise KeyError(f"{attribute} key {key!r} not found: {nearest(key, [*mapping.keys(), *also])}{hint}")
    return mapping[key]


def as_matrix(values: Any, name: str) -> Matrix:
    """Any two-dimensional array as a Matrix: see :func:`open_matrix`."""
    if values is None:
        raise ValueError(f"{name} is empty: this AnnData holds no such matrix.")
    for accepts, convert in _STORAGE:
        if accepts(values):
            values = convert(values)
            break
    else:
        raise TypeError(
            f"{name} is a {type(values).__name__}: pass a numpy, scipy.sparse, pandas, torch or CuPy array."
        )
    if len(values.shape) != 2:
        raise ValueError(f"{name} has {len(values.shape)} dimension(s): pass cells × features.")
    return Matrix((int(values.shape[0]), int(values.shape[1])), name, _compute_dtype(values, name), values)


def _sparse(values: Any) -> sp.csr_array:
    out = sp.csr_array(values)
    if values.format == "csr":
        out.has_canonical_format = values.has_canonical_format  # which scipy finds out once for each object
    if not out.has_canonical_format:
        out = out.copy() if values.format == "csr" else out  # the caller's arrays are shared, not copied, so far
        out.sum_duplicates()  # sorts too
    return out


def _cupy(values: Any) -> Any:
    if hasattr(values, "get") and hasattr(values, "nnz"):
        return _sparse(values.get())
    return torch.utils.dlpack.from_dlpack(values)


def _dense(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype == bool or not array.dtype.isnative:
        array = array.astype(np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="))
    # torch takes neither negative strides nor read-only memory without a warning; a copy is cheap beside the work
    return array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")


def _module(values: Any) -> str:
    return type(values).__module__.partition(".")[0]


# Storage kinds: how to know one, and how to turn it into something that `Matrix` reads. First match wins.
_STORAGE: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (sp.issparse, _sparse),
    (lambda v: isinstance(v, torch.Tensor), lambda v: v.detach()),
    (lambda v: isinstance(v, pd.DataFrame), lambda v: _dense(v.to_numpy())),
    (lambda v: isinstance(v, np.ndarray), _dense),
    (lambda v: _module(v) in ("cupy", "cupyx"), _cupy),
    (lambda v: hasattr(v, "to_memory"), lambda v: _sparse(v.to_memory())),  # anndata's backed sparse matrices
    (lambda v: _module(v) == "h5py", lambda v: v),
    (lambda v: isinstance(v, list | tuple), lambda v: _dense(v)),
)


def _compute_dtype(values: Any, name: str) -> torch.dtype:
    dtype = values.dtype if isinstance(values.dtype, torch.dtype) else np.dtype(values.dtype)
    if dtype in (torch.float64, np.dtype(np.float64)):
        return torch.float64
    least = torch.float64 if settings.dtype == "float64" else torch.float32
    floating = dtype.is_floating_point if isinstance(dtype, torch.dtype) else dtype.kind == "f"
    if floating:
        return least
    kind = dtype.kind if isinstance(dtype, np.dtype) else "c" if dtype.is_complex else "i"
    if kind not in "iub":
        raise ValueError(f"{name} holds {dtype}, not numbers: convert it to float32 first.")
    if dtype.itemsize <= 2:
        return least
    stored = values.data if sp.issparse(values) else values[:]
    largest = max(abs(int(stored.max())), abs(int(stored.min()))) if stored.size else 0
    return least if largest <= 2**24 else torch.float64  # beyond, float32 would round
