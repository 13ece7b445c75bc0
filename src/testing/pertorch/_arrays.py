"""Every kind of array in which a matrix may come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

SLOTS = ("X", "layers", "obsm")
IN_ANNDATA = frozenset(SLOTS)


class Storage(NamedTuple):
    """One kind of storage.

    Attributes
    ----------
    name
        For test ids.
    make
        From a matrix of small integers, float64 in C order, to the same numbers in this kind of storage.
    slots
        Where an AnnData takes it.
    gpu
        Whether it lives on a CUDA device.
    """

    name: str
    make: Callable[[NDArray[np.float64]], Any]
    slots: frozenset[str] = IN_ANNDATA
    gpu: bool = False

    def dense(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The numbers that are stored: `values`, but for bool, which keeps only whether they are zero."""
        return (values != 0).astype(np.float64) if self.name == "bool" else values


def arrays() -> Iterator[Storage]:
    """Kinds of array."""
    for dtype in ("f8", "f4", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"):
        yield Storage(np.dtype(dtype).name, lambda x, dtype=dtype: x.astype(dtype))
    for dtype in (">f8", ">f4", ">i4"):
        yield Storage(f"big-endian-{np.dtype(dtype).name}", lambda x, dtype=dtype: x.astype(dtype))
    yield Storage("fortran", lambda x: np.asfortranarray(x, dtype=np.float32))
    yield Storage("strided", _strided)
    yield Storage("negative-stride", lambda x: np.ascontiguousarray(x[::-1, ::-1], dtype=np.float32)[::-1, ::-1])
    yield Storage("read-only", _read_only)
    for form in ("csr", "csc"):
        for kind in ("matrix", "array"):
            make = getattr(sp, f"{form}_{kind}")
            yield Storage(f"{form}_{kind}", lambda x, make=make: make(x.astype(np.float32)))
    for dtype in ("f8", "i4", "u2"):
        yield Storage(f"csr_array-{np.dtype(dtype).name}", lambda x, dtype=dtype: sp.csr_array(x.astype(dtype)))
    for form in ("csr", "csc"):
        yield Storage(f"{form}-unsorted-indices", lambda x, form=form: _unsorted(x, form))
        yield Storage(f"{form}-duplicate-entries", lambda x, form=form: _duplicates(x, form))
        yield Storage(f"{form}-explicit-zeros", lambda x, form=form: _explicit_zeros(x, form))
    yield Storage("csr-int64-indices", _wide_indices)
    for kind in ("matrix", "array"):
        make = getattr(sp, f"coo_{kind}")
        yield Storage(f"coo_{kind}", lambda x, make=make: make(x.astype(np.float32)), frozenset())
    yield Storage("dataframe", _frame, frozenset({"obsm"}))
    yield Storage("torch", lambda x: _torch(x.astype(np.float32)), frozenset())
    yield Storage("torch-float64-strided", lambda x: _torch(np.repeat(x, 2, 1))[:, ::2], frozenset())
    yield Storage("torch-int32", lambda x: _torch(x.astype(np.int32)), frozenset())
    yield Storage("torch-cuda", lambda x: _torch(x.astype(np.float32)).cuda(), frozenset(), gpu=True)
    yield Storage("cupy", _cupy, gpu=True)
    yield Storage("cupy-csr", lambda x: _cupy_sparse(x, "csr"), gpu=True)
    yield Storage("cupy-csc", lambda x: _cupy_sparse(x, "csc"), gpu=True)


def _strided(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Every second row and third column of a larger array of NaN."""
    wide = np.full((2 * x.shape[0], 3 * x.shape[1]), np.nan, dtype=np.float32)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def _read_only(x: NDArray[np.float64]) -> NDArray[np.float32]:
    out = x.astype(np.float32)
    out.flags.writeable = False
    return out


def _parts(x: NDArray[np.float64], form: str) -> tuple[Any, Callable[..., Any]]:
    """The matrix in canonical form, and how to build one of its kind from data, indices and indptr."""
    make = getattr(sp, f"{form}_matrix")
    canonical = make(x.astype(np.float32))
    return canonical, lambda data, indices, indptr: make((data, indices, indptr), shape=x.shape)


def _unsorted(x: NDArray[np.float64], form: str) -> Any:
    """Entries of each row (column) in reverse order."""
    m, build = _parts(x, form)
    back = np.concatenate([np.arange(b - 1, a - 1, -1) for a, b in zip(m.indptr[:-1], m.indptr[1:], strict=True)])
    return build(m.data[back], m.indices[back], m.indptr)


def _duplicates(x: NDArray[np.float64], form: str) -> Any:
    """Each entry split in two that add up to it: one more than it, and −1."""
    m, build = _parts(x, form)
    data = np.stack([m.data + 1, np.full_like(m.data, -1)], 1).ravel()
    return build(data, np.repeat(m.indices, 2), m.indptr * 2)


def _explicit_zeros(x: NDArray[np.float64], form: str) -> Any:
    """Every zero stored."""
    m, build = _parts(np.ones_like(x), form)
    return build(x.astype(np.float32).ravel(order="C" if form == "csr" else "F"), m.indices, m.indptr)


def _wide_indices(x: NDArray[np.float64]) -> Any:
    m, build = _parts(x, "csr")
    out = build(m.data, m.indices, m.indptr)
    out.indices, out.indptr = m.indices.astype(np.int64), m.indptr.astype(np.int64)
    return out


def _frame(x: NDArray[np.float64]) -> pd.DataFrame:
    import pandas as pd

    columns = [f"f{i}" for i in range(x.shape[1])]
    return pd.DataFrame(x.astype(np.float32), index=[str(i) for i in range(len(x))], columns=columns)


def _torch(x: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(x)


def _cupy(x: NDArray[np.float64]) -> Any:
    import cupy

    return cupy.asarray(x, dtype=cupy.float32)


def _cupy_sparse(x: NDArray[np.float64], form: str) -> Any:
    import cupyx.scipy.sparse

    return getattr(cupyx.scipy.sparse, f"{form}_matrix")(_cupy(x))
