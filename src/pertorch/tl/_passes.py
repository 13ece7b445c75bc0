"""A matrix in a file is read in its own order: sums of all splits in two passes, the controls' and the targets'.

In memory at a time are the controls, as CSR, and a slab or two of the file. A slab's cells are compared with the
controls as though they were all there are: sums, and U, add up. U does so exactly, being a multiple of one half. Sums
of float32 do as well while the largest of them is below 2**53 units in the last place of the smallest value (0.01 and
ten million cells at 10, say), and then no order of addition, and no size of a slab, can change a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix, as_matrix
from pertorch.exec import map_threads, memory_budget
from pertorch.ops import mann_whitney
from pertorch.tl._row_sums import sums_by_rows
from pertorch.tl._screen import Split
from pertorch.tl._sums import Sums

SLAB_SHARE = 8  # of the budget: two slabs are in memory, and copies of one
CONTROLS_SHARE = 4
GENES = 256  # that a thread works on at a time


def sums_by_slabs(matrix: Matrix, splits: Sequence[Split], device: torch.device, *, ranks: bool) -> Iterator[Sums]:
    """As ``sums_by_columns`` or ``sums_by_rows`` for each split, of a matrix in a file.

    Controls that exceed their share of the budget are read some genes at a time, or those of many splits some splits at
    a time; each such part takes two passes of its own.
    """
    host = torch.device("cpu")
    budget = memory_budget(host)
    cell_bytes = matrix.entries_per_row * (matrix.dtype.itemsize + 4)
    for some in _runs(splits, int(budget // CONTROLS_SHARE // max(1, cell_bytes))):
        found = [Sums.zeros(split, matrix.shape[1], device) for split in some]
        parts = [_Part(split) for split in some]
        n_runs = -(-int(sum(len(s.controls) for s in some) * cell_bytes) // max(1, budget // CONTROLS_SHARE))
        for genes in np.array_split(np.arange(matrix.shape[1]), max(1, min(n_runs, matrix.shape[1]))):
            columns = None if len(genes) == matrix.shape[1] else genes
            controls = _controls(matrix, some, columns, budget // SLAB_SHARE)
            for slab in matrix.slabs(budget // SLAB_SHARE, columns):
                for part, theirs, sums in zip(parts, controls, found, strict=True):
                    part.add(sums, genes, theirs, slab, device, ranks=ranks)
        yield from found


def _runs(splits: Sequence[Split], most: int) -> Iterator[list[Split]]:
    """Successive splits with at most so many controls in all, or one split."""
    run: list[Split] = []
    for split in splits:
        if run and sum(len(s.controls) for s in [*run, split]) > most:
            yield run
            run = []
        run.append(split)
    if run:
        yield run


def _controls(
    matrix: Matrix, splits: Sequence[Split], columns: NDArray[np.int64] | None, nbytes: int
) -> list[sp.csc_array]:
    """The controls of each split, from one pass."""
    wanted = np.unique(np.concatenate([split.controls for split in splits]))
    parts = [sp.csr_array((0, matrix.shape[1] if columns is None else len(columns)), dtype=_numpy(matrix.dtype))]
    for slab in matrix.slabs(nbytes, columns):
        first, last = np.searchsorted(wanted, [slab.cells.start, slab.cells.stop])
        if first < last:
            parts.append(_csr(slab.rows, wanted[first:last] - slab.start))
    every = sp.csr_array(sp.vstack(parts, format="csr"))
    every.eliminate_zeros()
    if len(splits) == 1:
        return [sp.csc_array(every)]
    return [sp.csc_array(every[np.searchsorted(wanted, split.controls)]) for split in splits]


@final
class _Part:
    """The cells of a split's targets in the order of the file."""

    def __init__(self, split: Split) -> None:
        n_controls = int(split.offsets[1])
        cells = split.rows[n_controls:]
        order = np.argsort(cells, kind="stable")
        self._cells = cells[order]
        self._codes = np.repeat(np.arange(len(split.targets)), split.sizes)[order]

    def add(
        self,
        sums: Sums,
        genes: NDArray[np.int64],
        controls: sp.csc_array,
        slab: Any,
        device: torch.device,
        *,
        ranks: bool,
    ) -> None:
        """Add what a slab holds of them, at these genes, to the sums."""
        first, last = np.searchsorted(self._cells, [slab.cells.start, slab.cells.stop])
        codes = self._codes[first:last]
        if not len(codes):
            return
        present, sizes = np.unique(codes, return_counts=True)
        ours = self._cells[first:last][np.argsort(codes, kind="stable")] - slab.start
        cells = _csr(slab.rows, ours)
        way = _by_columns if device.type == "cpu" else _by_rows
        at = slice(int(genes[0]), int(genes[-1]) + 1)
        for total, of_slab in zip(sums, way(controls, cells, sizes, device, ranks=ranks), strict=True):
            total[0, at] = of_slab[0]
            total[torch.from_numpy(1 + present).to(device), at] += of_slab[1:]


def _by_columns(
    controls: sp.csc_array, cells: sp.csr_array, sizes: NDArray[np.int64], device: torch.device, *, ranks: bool
) -> Sums:
    """As :func:`sums_by_columns`, of controls and of cells by group."""
    columns = sp.csc_array(cells)
    columns.eliminate_zeros()
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    cuts = torch.from_numpy(mann_whitney.group_cuts(columns.indices, columns.indptr, offsets))
    starts = torch.from_numpy(controls.indptr.astype(np.int64))
    theirs, ours = torch.from_numpy(controls.data), torch.from_numpy(columns.data)
    n = torch.from_numpy(np.concatenate([[controls.shape[0]], sizes]))

    def work(genes: slice) -> tuple[Tensor, Tensor]:
        """Of some genes."""
        first = starts[genes.start : genes.stop + 1]
        parts = (theirs, first.unfold(0, 2, 1)), (ours, cuts[genes])

        def sums(*, squared: bool) -> Tensor:
            return torch.cat([mann_whitney.segment_sums(*part, squared=squared) for part in parts], 1).T

        if ranks:
            return sums(squared=False), mann_whitney.u_beside(theirs, first, ours, cuts[genes], n).T
        return sums(squared=False), sums(squared=True)

    n_genes = controls.shape[1]
    step = max(1, min(GENES, -(-n_genes // torch.get_num_threads())))
    found = list(map_threads(work, [slice(g, min(g + step, n_genes)) for g in range(0, n_genes, step)], device))
    return Sums(*(torch.cat(part, 1) for part in zip(*found, strict=True)))


def _by_rows(
    controls: sp.csc_array, cells: sp.csr_array, sizes: NDArray[np.int64], device: torch.device, *, ranks: bool
) -> Sums:
    """As :func:`sums_by_rows`, of controls and of cells by group."""
    both = as_matrix(sp.vstack([sp.csr_array(controls), cells], format="csr"), "controls and targets")
    everyone, n_controls = np.arange(both.shape[0]), controls.shape[0]
    offsets = np.concatenate([[0, n_controls], n_controls + np.cumsum(sizes)]).astype(np.int64)
    return sums_by_rows(both, Split(None, everyone, everyone, offsets, np.arange(len(sizes))), device, ranks=ranks)


def _csr(rows: Any, index: NDArray[np.int64]) -> sp.csr_array:
    """Some rows of a slab, dense or CSR."""
    return sp.csr_array(rows[index] if sp.issparse(rows) else rows.numpy()[index])


def _numpy(dtype: torch.dtype) -> Any:
    return np.float64 if dtype == torch.float64 else np.float32
