"""Counts as runs of whole rows: views of a matrix in memory, or read from a file as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol, final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data._matrix import as_matrix

SLAB_NONZEROS = 2**18  # temporaries of a slab stay near the cache, whatever the size of the screen
FILE_NONZEROS = 2**21  # of a slab of a file: fewer reads
MOST = 2**40  # count × number of guides fits an int64 below this; no cell holds as many molecules


class Slab(NamedTuple):
    """Rows as CSR, canonical and without explicit zeros, and which cells they are."""

    rows: sp.csr_array
    cells: slice


class Source(Protocol):
    """Where counts are. What it gives is checked: whole numbers, not negative."""

    shape: tuple[int, int]

    @property
    def matrix(self) -> sp.csr_array:
        """The whole of it, in memory."""

    def slabs(self) -> Iterator[Slab]:
        """Slabs, top to bottom."""


@final
class InMemory:
    """A canonical CSR matrix without explicit zeros, whose numbers the caller vouches for or :meth:`check` looks at."""

    def __init__(self, matrix: sp.csr_array) -> None:
        self.matrix, self.shape = matrix, matrix.shape

    def slabs(self) -> Iterator[Slab]:
        """Views of about ``SLAB_NONZEROS`` entries."""
        m = self.matrix
        for cells in _runs(m.indptr, SLAB_NONZEROS):
            low, high = int(m.indptr[cells.start]), int(m.indptr[cells.stop])
            indptr = m.indptr[cells.start : cells.stop + 1] - low
            yield Slab(canonical(m.data[low:high], m.indices[low:high], indptr, m.shape[1]), cells)


@final
class OnFile:
    """The rows of a CSR matrix in an HDF5 or zarr file, opened by AnnData; each pass reads it once more."""

    def __init__(self, stored: Any, name: str) -> None:
        self._stored, self._name = stored, name
        self.shape = (int(stored.shape[0]), int(stored.shape[1]))

    @cached_property
    def matrix(self) -> sp.csr_array:
        """Read into memory, and kept."""
        rows = [slab.rows for slab in self.slabs()]
        return sp.csr_array(sp.vstack(rows, format="csr")) if rows else sp.csr_array(self.shape)

    def slabs(self) -> Iterator[Slab]:
        """Read about ``FILE_NONZEROS`` entries at a time, and check them."""
        for cells in _runs(self._stored.group["indptr"][:], FILE_NONZEROS):
            rows = as_matrix(self._stored[cells.start : cells.stop], self._name).counts()
            check(rows, self._name, cells.start)
            yield Slab(rows, cells)


def canonical(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], n_columns: int) -> sp.csr_array:
    """CSR known to be canonical, which spares scipy the look."""
    out = sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_columns))
    out.has_canonical_format = True
    return out


def check(rows: sp.csr_array, name: str, first_cell: int = 0) -> None:
    """Refuse what is not a count.

    Raises
    ------
    ValueError
        If one is negative, NaN, infinite or fractional: names the first.
    """
    step = 2**17  # a step's few masks stay in the cache
    for start in range(0, rows.nnz, step):
        part = rows.data[start : start + step]
        good = (part >= 0) & (part <= MOST)  # false for NaN
        if part.dtype.kind == "f":
            good &= np.rint(part) == part
        if not good.all():
            at = start + int(np.argmin(good))
            cell = first_cell + int(np.searchsorted(rows.indptr, at, side="right")) - 1
            raise ValueError(
                f"{name} holds {rows.data[at]} at cell {cell}, guide {int(rows.indices[at])}, which is not a count: "
                "guide assignment needs raw UMI counts, whole numbers that are not negative. Pass the layer that "
                "holds them."
            )


def _runs(indptr: NDArray[Any], most: int) -> Iterator[slice]:
    """Runs of rows with about `most` entries, at least one row each."""
    start, n_rows = 0, len(indptr) - 1
    while start < n_rows:
        stop = int(np.searchsorted(indptr, int(indptr[start]) + most, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop
