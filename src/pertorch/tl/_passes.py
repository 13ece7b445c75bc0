"""A matrix in a file or of Dask is read in its own order: sums of all splits in two passes, controls' and targets'.

In memory at a time are the controls, as CSC, and a slab or two. A slab's cells are compared with the controls as though
they were all there are: sums, and U, add up. U does so exactly, being a multiple of one half. Sums of float32 do as
well while the largest of them is below 2**53 units in the last place of the smallest value (0.01 and ten million cells
at 10, say), and then no order of addition, and no size of a slab, can change a bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data import Matrix, Slab
from pertorch.data._tasks import reduce_slabs, slab_tasks
from pertorch.exec import FAN_IN, compute_tasks, memory_budget, shared, task, track
from pertorch.tl._screen import Split
from pertorch.tl._slab_sums import Beside, SlabSums, rows_of
from pertorch.tl._sums import Sums

SLAB_SHARE = 8  # of the budget: two slabs are in memory, and copies of one
CONTROLS_SHARE = 4


def sums_by_slabs(matrix: Matrix, splits: Sequence[Split], device: torch.device, *, ranks: bool) -> Iterator[Sums]:
    """As ``sums_by_columns`` or ``sums_by_rows`` for each split, of a matrix in a file, or of Dask.

    Controls that exceed their share of the budget are read some genes at a time, or those of many splits some splits at
    a time; each such part takes two passes of its own. Of Dask, the sums too are made at so many genes at a time that
    those merged at once fit the budget.

    Parameters
    ----------
    splits
        A cell is of a target in one of them at most.
    """
    budget = memory_budget(torch.device("cpu"))
    cell_bytes, n_genes = matrix.entries_per_row * (matrix.dtype.itemsize + 4), matrix.shape[1]
    for some in _runs(splits, int(budget // CONTROLS_SHARE // max(1, cell_bytes))):
        found = [Sums.zeros(split, n_genes, device) for split in some]
        n_runs = -(-int(sum(len(s.controls) for s in some) * cell_bytes) // max(1, budget // CONTROLS_SHARE))
        if matrix.is_dask:
            n_runs = max(n_runs, -(-FAN_IN * sum(sums.values.nbytes + sums.powers.nbytes for sums in found) // budget))
        for genes in np.array_split(np.arange(n_genes), max(1, min(n_runs, n_genes))):
            at = slice(int(genes[0]), int(genes[-1]) + 1)
            _add([Sums(*(part[:, at] for part in sums)) for sums in found], matrix, some, at, device, ranks=ranks)
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


def _add(
    total: list[Sums], matrix: Matrix, splits: list[Split], genes: slice, device: torch.device, *, ranks: bool
) -> None:
    """Sums of everyone at some genes: two passes over a file, or tasks of Dask."""
    wanted, targets, ends = _labels(matrix.shape[0], splits)
    kept = np.flatnonzero(wanted)
    keep = partial(_controls, genes)
    how = partial(_beside, ends=ends, genes=genes, ranks=ranks)
    places = [np.searchsorted(kept, split.controls) for split in splits]
    if matrix.is_dask:
        parts, places = slab_tasks(matrix, keep, wanted), [shared(of) for of in places]
        beside = task(partial(how, device=torch.device(device.type), travels=True), parts, places).persist(
            optimize_graph=False
        )
        _put(reduce_slabs(matrix, beside, SlabSums.merged, targets), total, ends)
        own = compute_tasks([task(Beside.of_controls, beside)])[0]
    else:
        nbytes = memory_budget(torch.device("cpu")) // SLAB_SHARE
        beside = how(
            [keep(slab, wanted[slab.cells]) for slab in matrix.slabs(nbytes)], places, device=device, travels=False
        )
        for slab in track(matrix.slabs(nbytes), matrix.shape[0], "markers", unit="cells", size=_n_cells):
            _put(beside(slab, targets[slab.cells]), total, ends)
        own = beside.of_controls()
    for sums, of_controls in zip(total, own, strict=True):
        for part, row in zip(sums, of_controls, strict=True):
            part[:1] = row


def _labels(n_cells: int, splits: Sequence[Split]) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.int64]]:
    """Who is a control in some split; the number of each cell's target, over all splits; and where a split's end."""
    ends = np.cumsum([0, *(len(split.targets) for split in splits)])
    wanted, targets = np.zeros(n_cells, dtype=bool), np.full(n_cells, -1, dtype=np.int32)
    for split, first in zip(splits, ends[:-1], strict=True):
        wanted[split.controls] = True
        targets[split.rows[split.offsets[1] :]] = first + np.repeat(np.arange(len(split.targets)), split.sizes)
    return wanted, targets, ends


def _controls(genes: slice, slab: Slab, wanted: NDArray[np.bool_]) -> sp.csr_array:
    """What a slab holds of the controls."""
    return rows_of(slab, np.flatnonzero(wanted), genes)


def _beside(parts: list[sp.csr_array], places: list[NDArray[np.int64]], **how: Any) -> Beside:
    """From the controls of all slabs, and which of them each split has."""
    every = sp.csr_array(sp.vstack(parts, format="csr"))
    every.eliminate_zeros()
    return Beside.of([sp.csc_array(every if len(places) == 1 else every[of]) for of in places], **how)


def _put(found: SlabSums, total: list[Sums], ends: NDArray[np.int64]) -> None:
    """Add what was found of targets to the sums of their splits, in which the controls go first."""
    cuts = np.searchsorted(found.targets, ends).tolist()
    for sums, first, (start, stop) in zip(total, ends[:-1], itertools.pairwise(cuts), strict=True):
        part = SlabSums(found.targets[start:stop], Sums(*(of[start:stop] for of in found.sums)))
        part.add_to(sums, 1 + part.targets - first)


def _n_cells(slab: Slab) -> int:
    return int(slab.rows.shape[0])
