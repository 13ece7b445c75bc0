"""What batches of targets need of a matrix that is not in memory, picked out in one pass over it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix, Slab
from pertorch.data._tasks import slab_tasks
from pertorch.exec import memory_budget, upload

SLAB_SHARE = 8  # of the budget: two slabs are in memory, and a copy of one

Index = NDArray[np.int64]


@final
class Wanted(NamedTuple):
    """Some cells at some genes, both ascending."""

    rows: Index
    columns: Index


@final
class _Piece(NamedTuple):
    """What a slab holds of a block: rows `place` of it."""

    block: int
    place: NDArray[np.int32]
    values: NDArray[np.floating]


@final
@dataclass(frozen=True)
class Gathered:
    """Blocks of a matrix, in host memory, that are read as the matrix is.

    Attributes
    ----------
    name, shape, dtype
        Those of the matrix.
    columns
        Genes of each block.
    at
        Shape ``(cells, 2)``: the block that holds a cell (−1 for none), and its row there.
    sizes
        Cells of each block.
    values
        The blocks.
    """

    name: str
    shape: tuple[int, int]
    dtype: torch.dtype
    columns: Sequence[Index]
    at: NDArray[np.int32]
    sizes: Sequence[int]
    values: Sequence[NDArray[np.floating]] = ()

    is_file = is_host_array = False

    @classmethod
    def of(cls, matrix: Matrix, wanted: Sequence[Wanted]) -> Gathered:
        """Nothing read yet. Where a cell is in several blocks, the last of them must have the genes of all."""
        at = np.full((matrix.shape[0], 2), -1, dtype=np.int32)
        for b, block in enumerate(wanted):
            at[block.rows, 0], at[block.rows, 1] = b, np.arange(len(block.rows))
        columns, sizes = [block.columns for block in wanted], [len(block.rows) for block in wanted]
        return cls(matrix.name, matrix.shape, matrix.dtype, columns, at, sizes)

    @classmethod
    def read(cls, matrix: Matrix, wanted: Sequence[Wanted]) -> Gathered:
        """In one pass over a file."""
        empty = cls.of(matrix, wanted)
        slabs = matrix.slabs(memory_budget(torch.device("cpu")) // SLAB_SHARE)
        return empty.filled(_pick(empty.columns, slab, empty.at[slab.cells]) for slab in slabs)

    def tasks(self, matrix: Matrix) -> list[Any]:
        """Tasks of Dask that pick what :meth:`filled` takes, one a chunk."""
        return slab_tasks(matrix, partial(_pick, self.columns), self.at)

    def filled(self, slabs: Iterable[Iterable[_Piece]]) -> Gathered:
        """With what was picked of all slabs."""
        shapes = zip(self.sizes, map(len, self.columns), strict=True)
        values = [np.empty(shape, dtype=_numpy(self.dtype)) for shape in shapes]
        for piece in itertools.chain.from_iterable(slabs):
            values[piece.block][piece.place] = piece.values
        return replace(self, values=values)

    def rows(self, index: Tensor, columns: Index | None = None) -> Tensor:
        """As :meth:`Matrix.rows`, of what was gathered.

        Raises
        ------
        LookupError
            If something else is asked for.
        """
        block, place = self.at[index.cpu().numpy()].T
        columns = np.arange(self.shape[1]) if columns is None else columns
        out = np.empty((len(block), len(columns)), dtype=_numpy(self.dtype))
        for b in np.unique(block):
            at = np.searchsorted(self.columns[b], columns)
            if b < 0 or not np.array_equal(self.columns[b].take(at, mode="clip"), columns):
                raise LookupError("cells or genes that were not gathered")
            mine = np.flatnonzero(block == b)
            out[mine] = self.values[b][np.ix_(place[mine], at)]
        return upload(torch.from_numpy(out), index.device)


def _pick(columns: Sequence[Index], slab: Slab, at: NDArray[np.int32]) -> list[_Piece]:
    """What a slab holds of the blocks; `at` is that of its cells."""
    here = np.flatnonzero(at[:, 0] >= 0)
    here = here[np.argsort(at[here, 0], kind="stable")]
    rows, (block, place) = slab.rows[here], at[here].T
    cuts = np.flatnonzero(np.diff(block, prepend=-1, append=-1)).tolist()
    position, pieces = np.full(slab.rows.shape[1], -1), []
    for first, stop in itertools.pairwise(cuts):
        b = int(block[first])
        position[columns[b]] = np.arange(len(columns[b]))
        pieces.append(_Piece(b, place[first:stop], _dense(rows, slice(first, stop), columns[b], position)))
        position[columns[b]] = -1
    return pieces


def _dense(rows: Any, run: slice, columns: Index, position: Index) -> NDArray[np.floating]:
    """A run of rows at these columns; `position` is that of every column among them."""
    if not sp.issparse(rows):
        picked: NDArray[np.floating] = rows[run].numpy()[:, columns]
        return picked
    entries = slice(rows.indptr[run.start], rows.indptr[run.stop])
    column = position[rows.indices[entries]]
    row = np.repeat(np.arange(run.stop - run.start), np.diff(rows.indptr[run.start : run.stop + 1]))
    kept = column >= 0
    out = np.zeros((run.stop - run.start, len(columns)), dtype=rows.dtype)
    out[row[kept], column[kept]] = rows.data[entries][kept]
    return out


def _numpy(dtype: torch.dtype) -> Any:
    return np.float64 if dtype == torch.float64 else np.float32
