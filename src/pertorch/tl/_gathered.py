"""What a batch of targets needs of a matrix in a file, picked out in one pass over it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix
from pertorch.exec import memory_budget, upload

SLAB_SHARE = 8  # of the budget: two slabs are in memory, and a copy of one

Index = NDArray[np.int64]


@final
class Wanted(NamedTuple):
    """Some cells at some genes, both ascending."""

    rows: Index
    columns: Index


@final
class Gathered:
    """Blocks of a matrix, in host memory, that are read as the matrix is.

    Parameters
    ----------
    matrix
        Where they are read from, once.
    wanted
        The blocks. Where a cell is in several, the last of them must have the genes of all.
    """

    is_file = is_host_array = False

    def __init__(self, matrix: Matrix, wanted: Sequence[Wanted]) -> None:
        self.name, self.shape, self.dtype = matrix.name, matrix.shape, matrix.dtype
        self._columns = [block.columns for block in wanted]
        self._block, self._place = np.full(self.shape[0], -1, dtype=np.int32), np.zeros(self.shape[0], dtype=np.int64)
        for b, block in enumerate(wanted):
            self._block[block.rows], self._place[block.rows] = b, np.arange(len(block.rows))
        dtype = np.float64 if matrix.dtype == torch.float64 else np.float32
        self._values = [np.zeros((len(block.rows), len(block.columns)), dtype=dtype) for block in wanted]
        for slab in matrix.slabs(memory_budget(torch.device("cpu")) // SLAB_SHARE):
            self._take(slab.start, slab.rows)

    def _take(self, start: int, rows: Any) -> None:
        """From a slab what is wanted of it."""
        block = self._block[start : start + rows.shape[0]]
        here = np.flatnonzero(block >= 0)
        here = here[np.argsort(block[here], kind="stable")]
        rows, block, place = rows[here], block[here], self._place[start + here]
        at = np.full(self.shape[1], -1)
        cuts = np.flatnonzero(np.diff(block, prepend=-1, append=-1)).tolist()
        for first, stop in itertools.pairwise(cuts):
            b, run = block[first], slice(first, stop)
            if not sp.issparse(rows):
                self._values[b][place[run]] = rows[run].numpy()[:, self._columns[b]]
                continue
            at[self._columns[b]] = np.arange(len(self._columns[b]))
            entries = slice(rows.indptr[first], rows.indptr[stop])
            column = at[rows.indices[entries]]
            row = np.repeat(place[run], np.diff(rows.indptr[first : stop + 1]))
            kept = column >= 0
            self._values[b][row[kept], column[kept]] = rows.data[entries][kept]
            at[self._columns[b]] = -1

    def rows(self, index: Tensor, columns: Index | None = None) -> Tensor:
        """As :meth:`Matrix.rows`, of what was gathered.

        Raises
        ------
        LookupError
            If something else is asked for.
        """
        cells = index.cpu().numpy()
        columns = np.arange(self.shape[1]) if columns is None else columns
        block = self._block[cells]
        out = np.empty((len(cells), len(columns)), dtype=self._values[0].dtype)
        for b in np.unique(block):
            at = np.searchsorted(self._columns[b], columns)
            if b < 0 or not np.array_equal(self._columns[b].take(at, mode="clip"), columns):
                raise LookupError("cells or genes that were not gathered")
            mine = np.flatnonzero(block == b)
            out[mine] = self._values[b][np.ix_(self._place[cells[mine]], at)]
        return upload(torch.from_numpy(out), index.device)
