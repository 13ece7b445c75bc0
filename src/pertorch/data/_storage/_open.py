"""Which class reads what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from pertorch.data._storage._base import Storage
from pertorch.data._storage._convert import canonical_csr, dense
from pertorch.data._storage._dask import DaskRows
from pertorch.data._storage._file import FileCsc, FileCsr, FileRows
from pertorch.data._storage._memory import CsrArray, HostArray, TorchArray


def open_storage(values: Any, name: str) -> Storage:
    """The home that these values have.

    Raises
    ------
    TypeError
        If they are no kind of array that is known.
    ValueError
        If they do not have two dimensions.
    """
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
    (lambda v: hasattr(v, "group") and hasattr(v, "to_memory"), _backed),  # of anndata
    (lambda v: hasattr(v, "__dask_graph__"), DaskRows),
    (lambda v: _module(v) in ("h5py", "zarr"), FileRows),
    (lambda v: isinstance(v, list | tuple), lambda v, _: HostArray(dense(v))),
)
