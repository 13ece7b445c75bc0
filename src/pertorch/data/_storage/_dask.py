"""Dask arrays, of dense or sparse chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data._storage._base import OnFile, Rows
from pertorch.data._storage._convert import canonical_csr, dense, native
from pertorch.exec import compute_tasks, shared

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

    @cached_property
    def chunks(self) -> list[tuple[slice, Any]]:
        """Each run of rows that is a chunk, and the task that computes it, as :meth:`read` would have it."""
        from dask.delayed import delayed

        ends = np.cumsum([0, *self.values.chunks[0]]).tolist()
        blocks = self.values.to_delayed(optimize_graph=True)
        runs = [slice(*ends[i : i + 2]) for i in range(len(blocks))]
        return [
            (run, delayed(_beside)(list(row))) for run, row in zip(runs, blocks, strict=True) if run.stop > run.start
        ]

    def task(self, index: NDArray[np.int64], columns: NDArray[np.int64] | None = None) -> Any:
        """The task that gathers these rows, in this order, of them these columns; nothing else travels to it."""
        from dask.delayed import delayed

        order = np.argsort(index, kind="stable")
        ascending, picked = index[order], []
        everywhere = shared(ascending)
        for run, chunk in self.chunks:
            low, high = np.searchsorted(ascending, [run.start, run.stop])
            if low < high:
                picked.append(delayed(_pick)(chunk, everywhere, slice(int(low), int(high)), run.start, columns))
        if not picked:
            picked = [delayed(_pick)(self.chunks[0][1], everywhere, slice(0, 0), 0, columns)]
        return delayed(_gather)(picked, shared(order))

    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> Rows:
        """See :class:`Storage`: gathered by tasks, so that only what is asked for leaves the workers."""
        rows = compute_tasks([self.task(index.cpu().numpy(), columns)])[0]
        return rows if self.is_sparse else torch.from_numpy(rows).to(index.device)

    def read(self, rows: slice) -> Rows:
        """See :class:`Storage`."""
        return on_host(self.values[rows].compute())


def _beside(blocks: list[Any]) -> Rows:
    """A run of rows from its blocks of columns."""
    blocks = [on_host(block) for block in blocks]
    if len(blocks) == 1:
        return blocks[0]
    return canonical_csr(sp.hstack(blocks, format="csr")) if sp.issparse(blocks[0]) else np.concatenate(blocks, 1)


def _pick(rows: Rows, ascending: NDArray[np.int64], at: slice, start: int, columns: NDArray[np.int64] | None) -> Rows:
    found = rows[ascending[at] - start]
    return found if columns is None else found[:, columns]


def _gather(parts: list[Rows], order: NDArray[np.int64]) -> Rows:
    """Rows picked in ascending order, put in the order asked for."""
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    if sp.issparse(parts[0]):
        return canonical_csr(sp.vstack(parts, format="csr"))[back]
    return np.concatenate(parts)[back]


def on_host(chunk: Any) -> Rows:
    """A computed chunk as numpy or CSR."""
    chunk = chunk.get() if hasattr(chunk, "get") else chunk  # CuPy
    return canonical_csr(chunk) if sp.issparse(chunk) else dense(np.asarray(chunk))
