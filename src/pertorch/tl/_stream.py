"""A signature made slab by slab, in the order in which a matrix in a file is read, and handed on."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, final

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from pertorch.data import Matrix, Slab, densify
from pertorch.data._tasks import chunk_sizes, slab_tasks
from pertorch.exec import compute_tasks, map_threads, memory_budget, task, track, upload
from pertorch.ops.segment import batches
from pertorch.tl._gathered import Wanted
from pertorch.tl._materialize import PROBED, Output, compressed, is_smaller
from pertorch.tl._near import gathered_task
from pertorch.tl._operator import Difference

REFERENCE_SHARE = 3  # of the budget: the controls at some genes
WINDOW_SHARE = 4  # blocks that are made at once by Dask
SLAB_SHARE = 16  # a slab, dense: of those some are in memory, and the values that they are made from
PIECE_BYTES = 2**23  # that a thread makes at a time


class Sink(Protocol):
    """What takes the slabs."""

    def begin(self, dtype: torch.dtype, *, sparse: bool) -> None:
        """Say what will come."""

    def put(self, cells: slice, genes: slice, block: Any) -> None:
        """Take a dense block, or the next cells as CSR."""


@final
class InMemory:
    """Keeps them."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape, self._rows, self._dense = shape, [], None  # type: tuple[int, int], list[Any], Any

    def begin(self, dtype: torch.dtype, *, sparse: bool) -> None:
        """See :class:`Sink`."""
        self._dense = None if sparse else torch.empty(self._shape, dtype=dtype).numpy()

    def put(self, cells: slice, genes: slice, block: Any) -> None:
        """See :class:`Sink`."""
        if self._dense is None:
            self._rows.append(block)
        else:
            self._dense[cells, genes] = block

    def whole(self) -> Any:
        """All of them."""
        return sp.vstack(self._rows, format="csr") if self._dense is None else self._dense


def stream(sink: Sink, signature: Difference, device: torch.device, output: Output, batch_size: int | None) -> None:
    """Make a signature and put it into a sink, which writes a slab while the next one is made.

    The controls that cells are compared with are in memory, dense, at as many genes as fit. Each such run of genes
    takes a pass over the matrix.

    Raises
    ------
    ValueError
        If sparse output was asked for and they do not fit at all genes, or a value is NaN or infinite.
    """
    runs = _gene_runs(signature)
    if output == "sparse" and len(runs) > 1:
        raise ValueError(
            f"output='sparse' needs the controls at all genes in memory, {len(runs)} times what settings.memory_gb "
            "leaves for them: raise it, or write output='dense'."
        )
    sparse = output == "sparse" if output != "auto" or len(runs) > 1 else None
    begun = False
    with ThreadPoolExecutor(1, "pertorch-write") as writer:  # which a Ctrl-C waits for
        written: Future[None] | None = None
        blocks = _blocks(signature, runs, device, batch_size)
        for cells, genes, block in track(
            blocks, signature.shape[0] * len(runs), "signature", unit="cells", size=lambda made: len(made[2])
        ):
            if not begun:
                sparse = is_smaller(block[:PROBED]) if sparse is None else sparse
                sink.begin(block.dtype, sparse=sparse)
                begun = True
            ready = compressed(block) if sparse else block.numpy(force=True)
            if written is not None:
                written.result()
            written = writer.submit(sink.put, cells, genes, ready)
        if written is not None:
            written.result()


def _gene_runs(signature: Difference) -> list[slice]:
    """Genes at which the controls fit."""
    n, n_genes = signature.shape
    nbytes = len(signature.sources(np.arange(n))) * n_genes * signature.matrix.dtype.itemsize
    n_runs = min(n_genes, max(1, -(-nbytes * REFERENCE_SHARE // memory_budget(torch.device("cpu")))))
    ends = [n_genes * i // n_runs for i in range(n_runs + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]


def _blocks(
    signature: Difference, runs: list[slice], device: torch.device, batch_size: int | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cells, genes, and the signature of these on the device."""
    matrix = signature.matrix
    assert isinstance(matrix, Matrix)
    for genes in runs:
        if matrix.is_dask:
            yield from _by_tasks(signature, genes, device)
            continue
        columns = None if len(runs) == 1 else np.arange(genes.start, genes.stop)
        reference = signature.reference(device, columns)
        row_bytes = (genes.stop - genes.start) * matrix.dtype.itemsize
        n_rows = batch_size or max(1, memory_budget(torch.device("cpu")) // SLAB_SHARE // max(1, row_bytes))
        stored = matrix.entries_per_row * (matrix.dtype.itemsize + (4 if matrix.is_sparse else 0))
        for slab in matrix.slabs(max(1, int(n_rows * stored)), columns):
            # Rows that store little come many at a time.
            for start in range(0, slab.rows.shape[0], n_rows):
                rows = slab.rows[start : start + n_rows]
                first = slab.start + start
                yield slice(first, first + rows.shape[0]), genes, _block(reference, rows, first, device)


def _by_tasks(signature: Difference, genes: slice, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """As :func:`_blocks`, a chunk each: a few at a time are made by Dask, and come here in order."""
    matrix, everyone, columns = signature.matrix, np.arange(signature.shape[0]), np.arange(genes.start, genes.stop)
    assert isinstance(matrix, Matrix)
    wanted = [Wanted(signature.sources(everyone), columns)]
    near = gathered_task(signature, everyone, wanted).persist(optimize_graph=False)
    made = slab_tasks(matrix, task(partial, _of_slab, near, genes, torch.device(device.type)), everyone)
    sizes = torch.tensor(chunk_sizes(matrix))
    nbytes, start = sizes * (len(columns) * matrix.dtype.itemsize), 0
    for some in batches(nbytes, memory_budget(torch.device("cpu")) // WINDOW_SHARE):
        for block in compute_tasks(made[some]):
            yield slice(start, start + len(block)), genes, block
            start += len(block)


def _of_slab(signature: Difference, genes: slice, device: torch.device, slab: Slab, cells: Any) -> Tensor:
    del cells  # whom the slab knows
    reference = signature.reference(device, np.arange(genes.start, genes.stop))
    return _block(reference, slab.rows[:, genes], slab.start, device).cpu()


def _block(reference: Any, rows: Any, first: int, device: torch.device) -> Tensor:
    n = rows.shape[0]
    dtype = torch.float64 if rows.dtype in (np.float64, torch.float64) else torch.float32
    out = torch.empty(rows.shape, dtype=dtype, device=device)
    step = max(1, PIECE_BYTES // max(1, out[:1].nbytes)) if device.type == "cpu" else n

    def work(start: int) -> None:
        part = rows[start : start + step]
        x = densify(part, device) if sp.issparse(part) else upload(part, device)
        index = torch.arange(first + start, first + start + len(x), device=device)
        torch.sub(reference(index), x, out=out[start : start + step])

    deque(map_threads(work, range(0, n, step), device), maxlen=0)
    return out
