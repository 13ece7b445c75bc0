"""AnnData to tensors and back: the nouns Matrix, Groups, Pairs, and the frames that results become."""

from pertorch.data._cells import Cells
from pertorch.data._device_csr import DeviceCsr
from pertorch.data._frames import onesided_frame, pairwise_frame
from pertorch.data._groups import Groups
from pertorch.data._matrix import DEFAULT_EMBEDDING, Matrix, Slab, as_matrix, densify, open_matrix
from pertorch.data._names import nearest, obs_column
from pertorch.data._pairs import Pairs
from pertorch.data._slots import check_one_source, check_writable

__all__ = [
    "DEFAULT_EMBEDDING",
    "Cells",
    "DeviceCsr",
    "Groups",
    "Matrix",
    "Pairs",
    "Slab",
    "as_matrix",
    "check_one_source",
    "check_writable",
    "densify",
    "nearest",
    "obs_column",
    "onesided_frame",
    "open_matrix",
    "pairwise_frame",
]
