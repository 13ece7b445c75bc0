"""Where a matrix may live: each home is one small class, and only :class:`pertorch.data.Matrix` speaks to them."""

from pertorch.data._storage._base import SLAB_BYTES, OnFile, Storage, canonical, cut
from pertorch.data._storage._dask import DaskRows
from pertorch.data._storage._memory import CsrArray, HostArray, TorchArray
from pertorch.data._storage._open import open_storage

__all__ = [
    "SLAB_BYTES",
    "CsrArray",
    "DaskRows",
    "HostArray",
    "OnFile",
    "Storage",
    "TorchArray",
    "canonical",
    "cut",
    "open_storage",
]
