"""Sums for the tests the way of a CPU: columns, each in the cache of a core."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
import torch

from pertorch.data import Matrix
from pertorch.exec import map_threads, track
from pertorch.ops import mann_whitney
from pertorch.tl._screen import Split
from pertorch.tl._sums import Sums

RUN_CELLS = 100_000
COLUMN_BYTES = 3 * 2**23  # of columns that a thread transposes and sorts


def sums_by_columns(matrix: Matrix, split: Split, device: torch.device, *, ranks: bool) -> Sums:
    """The way of a CPU: columns, each in the cache of a core, some genes at a time."""
    parts = [_of_run(matrix, split, run, device, ranks=ranks) for run in _runs(split)]
    return Sums.join(parts)


def _of_run(matrix: Matrix, split: Split, run: slice, device: torch.device, *, ranks: bool) -> Sums:
    """Of a run of targets and the controls."""
    part = split.only(np.arange(run.start, run.stop))
    rows, offsets = part.rows, part.offsets
    sizes = torch.from_numpy(np.diff(offsets))
    out = Sums(*torch.zeros(2, len(sizes), matrix.shape[1], dtype=torch.float64))
    if 2 * len(rows) < matrix.shape[0]:
        matrix, rows = matrix.taken(rows), np.arange(len(rows))

    def work(genes: slice) -> int:
        slab = matrix.columns(rows, genes.start, genes.stop)
        cuts = torch.from_numpy(mann_whitney.group_cuts(slab.indices, slab.indptr, offsets))
        values = torch.from_numpy(slab.data)
        out.values[:, genes] = mann_whitney.segment_sums(values, cuts).T
        if ranks:
            out.powers[:, genes] = mann_whitney.u_statistics(values, cuts, sizes).T
        else:
            out.powers[:, genes] = mann_whitney.segment_sums(values, cuts, squared=True).T
        return slab.shape[1]

    bytes_of_gene = len(rows) * matrix.entries_per_row / max(1, matrix.shape[1]) * (matrix.dtype.itemsize + 4)
    step = max(1, int(COLUMN_BYTES // max(1, bytes_of_gene)))
    slabs = [slice(g, g + step) for g in range(0, matrix.shape[1], step)]
    deque(track(map_threads(work, slabs, device), matrix.shape[1], "markers", unit="genes", size=int), maxlen=0)
    return out


def _runs(split: Split) -> list[slice]:
    """Targets in runs of about `RUN_CELLS` cells, of which with the controls a copy may be made."""
    n_controls, n_cells = int(split.offsets[1]), int(split.offsets[-1] - split.offsets[1])
    n_runs = max(1, n_cells // max(RUN_CELLS, 2 * n_controls))
    ends = np.searchsorted(split.offsets[1:] - n_controls, np.arange(1, n_runs) * (n_cells / n_runs))
    cuts = np.unique([0, *ends, len(split.targets)]).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
