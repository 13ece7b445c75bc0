"""Where a matrix may live: each home is one small class, and only :class:`pertorch.data.Matrix` speaks to them."""

from pertorch.data._storage._base import SLAB_BYTES, OnFile, Storage, canonical, cut, reading
from pertorch.data._storage._dask import DaskRows
from pertorch.data._storage._memory import CsrArray, HostArray, TorchArray
from pertorch.data._storage._open import lies_in_file, open_storage
from pertorch.data._storage._view import FilePart

__all__ = [
    "SLAB_BYTES",
    "CsrArray",
    "DaskRows",
    "FilePart",
    "HostArray",
    "OnFile",
    "Storage",
    "TorchArray",
    "canonical",
    "cut",
    "lies_in_file",
    "open_storage",
    "reading",
]
