"""Arrays as others hand them over, made into arrays that torch and scipy read."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def canonical_csr(values: Any) -> sp.csr_array:
    """Any sparse matrix as CSR in canonical form; the arrays of one that is so already are shared."""
    out = sp.csr_array(values)
    if values.format == "csr":
        out.has_canonical_format = values.has_canonical_format  # which scipy finds out once for each object
    if not out.has_canonical_format:
        out = out.copy() if values.format == "csr" else out  # the caller's arrays are shared, not copied, so far
        out.sum_duplicates()  # sorts too
    return out


def dense(values: Any) -> NDArray[Any]:
    """A numpy array in C order, writeable, of numbers in native byte order; bool becomes 0 and 1."""
    array = np.asarray(values)
    array = array.astype(native(array.dtype), copy=False)
    # torch takes neither negative strides nor read-only memory without a warning; a copy is cheap beside the work
    return array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")


def native(dtype: Any) -> np.dtype[Any]:
    """What `dense` makes of a dtype."""
    dtype = np.dtype(dtype)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
