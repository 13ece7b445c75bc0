"""Dask arrays, of dense or sparse chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, final

import numpy as np
import scipy.sparse as sp

from pertorch.data._storage._base import OnFile, Rows
from pertorch.data._storage._convert import canonical_csr, dense, native

GUESSED_DENSITY = 0.1  # of sparse chunks, before they are computed


@final
class DaskRows(OnFile):
    """Rows are computed chunk by chunk, by whatever scheduler is current."""

    def __init__(self, values: Any, name: str) -> None:
        super().__init__(name)
        if len(values.shape) == 2 and any(math.isnan(n) for n in values.shape):
            raise ValueError(f"{name} is a Dask array of unknown shape: call its compute_chunk_sizes() first.")
        self.values, self.shape = values, values.shape
        self.is_sparse = hasattr(values._meta, "nnz")
        self.dtype = values.dtype if self.is_sparse else native(values.dtype)

    @property
    def entries_per_row(self) -> float:
        """A guess, where only computing would tell."""
        return self.shape[1] * (GUESSED_DENSITY if self.is_sparse else 1)

    def runs(self, nbytes: int) -> Iterator[slice]:
        """Whole chunks, several where they are small: none is computed twice."""
        most = nbytes / max(1, self.entries_per_row * self.dtype.itemsize)
        start = stop = 0
        for length in self.values.chunks[0]:
            if stop > start and stop + length - start > most:
                yield slice(start, stop)
                start = stop
            stop += length
        if stop > start:
            yield slice(start, stop)

    def read(self, rows: slice) -> Rows:
        """See :class:`Storage`."""
        return on_host(self.values[rows].compute())


def on_host(chunk: Any) -> Rows:
    """A computed chunk as numpy or CSR."""
    chunk = chunk.get() if hasattr(chunk, "get") else chunk  # CuPy
    return canonical_csr(chunk) if sp.issparse(chunk) else dense(np.asarray(chunk))
