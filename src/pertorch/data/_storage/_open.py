"""Which class reads what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from pertorch.data._storage._base import OnFile, Storage
from pertorch.data._storage._convert import canonical_csr, dense
from pertorch.data._storage._dask import DaskRows
from pertorch.data._storage._file import FileCsc, FileCsr, FileRows
from pertorch.data._storage._memory import CsrArray, HostArray, TorchArray
from pertorch.data._storage._view import FilePart, FileView


def open_storage(values: Any, name: str) -> Storage:
    """The home that these values have.

    Raises
    ------
    TypeError
        If they are no kind of array that is known.
    ValueError
        If they do not have two dimensions.
    """
    if isinstance(values, FilePart):
        whole = open_storage(values.whole, name)
        assert isinstance(whole, OnFile)
        return FileView(whole, values.rows, values.columns)
    for accepts, make in _KINDS:
        if accepts(values):
            if not hasattr(values, "shape"):
                values = np.asarray(values)
            if len(values.shape) != 2:
                raise ValueError(f"{name} has {len(values.shape)} dimension(s): pass cells × features.")
            return make(values, name)
    raise TypeError(
        f"{name} is a {type(values).__name__}: pass a numpy, scipy.sparse, pandas, torch, CuPy or Dask array, or one "
        "of an open h5ad or zarr file."
    )


def lies_in_file(values: Any) -> bool:
    """Whether it is an array of h5py or zarr, or a sparse matrix of anndata in one."""
    return _is_backed(values) or _module(values) in ("h5py", "zarr")


def _is_backed(values: Any) -> bool:
    return hasattr(values, "group") and hasattr(values, "to_memory")


def _module(values: Any) -> str:
    return type(values).__module__.partition(".")[0]


def _cupy(values: Any, name: str) -> Storage:
    del name
    if hasattr(values, "get") and hasattr(values, "nnz"):
        return CsrArray(canonical_csr(values.get()))
    return TorchArray(torch.utils.dlpack.from_dlpack(values))


def _backed(values: Any, name: str) -> Storage:
    return (FileCsr if values.format == "csr" else FileCsc)(values, name)


# How to know what it is, and what reads it. The first match wins.
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Storage]], ...] = (
    (sp.issparse, lambda v, _: CsrArray(canonical_csr(v))),
    (lambda v: isinstance(v, torch.Tensor), lambda v, _: TorchArray(v.detach())),
    (lambda v: isinstance(v, pd.DataFrame), lambda v, _: HostArray(dense(v.to_numpy()))),
    (lambda v: isinstance(v, np.ndarray), lambda v, _: HostArray(dense(v))),
    (lambda v: _module(v) in ("cupy", "cupyx"), _cupy),
    (_is_backed, _backed),  # of anndata
    (lambda v: hasattr(v, "__dask_graph__"), DaskRows),
    (lies_in_file, FileRows),
    (lambda v: isinstance(v, list | tuple), lambda v, _: HostArray(dense(v))),
)
