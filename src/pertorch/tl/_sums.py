"""Sums and rank statistics of the targets of a split and of its controls, from a matrix in memory."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import DeviceCsr, Matrix
from pertorch.exec import map_threads, track
from pertorch.ops import mann_whitney
from pertorch.tl._screen import Split

RUN_CELLS = 100_000
COLUMN_BYTES = 3 * 2**23  # of columns that a thread transposes and sorts
PIECE_ROWS = 256  # that one thread of a GPU adds up
SLAB_BYTES = 2**28  # of rows on a GPU, which holds a few such at a time


@final
class Sums(NamedTuple):
    """What the tests are made of, each ``(1 + targets, genes)``, float64, the control first.

    Attributes
    ----------
    values
        Sums.
    powers
        U where ranks were asked for (the control's own means nothing), else sums of squares.
    """

    values: Tensor
    powers: Tensor

    @classmethod
    def zeros(cls, split: Split, n_genes: int, device: torch.device) -> Sums:
        """Nothing added yet."""
        return cls(*torch.zeros(2, len(split.offsets) - 1, n_genes, dtype=torch.float64, device=device))


def sums_of(matrix: Matrix, split: Split, device: torch.device, *, ranks: bool) -> Sums:
    """In the way that suits the device."""
    if not len(split.targets):
        return Sums.zeros(split, matrix.shape[1], device)
    return (sums_by_columns if device.type == "cpu" else sums_by_rows)(matrix, split, device, ranks=ranks)


def sums_by_columns(matrix: Matrix, split: Split, device: torch.device, *, ranks: bool) -> Sums:
    """The way of a CPU: columns, each in the cache of a core, some genes at a time."""
    parts = [_of_run(matrix, split, run, device, ranks=ranks) for run in _runs(split)]
    return Sums(*(torch.cat([part[0][:1], *(x[1:] for x in part)]) for part in zip(*parts, strict=True)))


def _of_run(matrix: Matrix, split: Split, run: slice, device: torch.device, *, ranks: bool) -> Sums:
    """Of a run of targets and the controls."""
    first, last = split.offsets[run.start + 1], split.offsets[run.stop + 1]
    rows = np.concatenate([split.controls, split.rows[first:last]])
    offsets = np.concatenate([[0], split.offsets[run.start + 1 : run.stop + 2] - first + len(split.controls)])
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


def sums_by_rows(matrix: Matrix, split: Split, device: torch.device, *, ranks: bool) -> Sums:
    """The way of a GPU: rows as they are stored, every value by itself."""
    rows, offsets = (torch.from_numpy(part).to(device) for part in (split.rows, split.offsets))
    groups = torch.repeat_interleave(offsets.diff(), output_size=len(rows))
    out = Sums.zeros(split, matrix.shape[1], device)
    step = max(1, SLAB_BYTES // max(1, matrix.shape[1] * matrix.dtype.itemsize))
    slabs = enumerate(rows.split(step))
    for i, slab in track(slabs, len(rows), "sums of genes", unit="cells", size=lambda both: len(both[1])):
        _add_sums(out, matrix.rows(slab), split.offsets, i * step, squares=not ranks)
    if ranks:
        for genes in _gene_slabs(matrix, len(split.controls)):
            out.powers[:, genes] = _u_of_rows(matrix, rows, groups, split, genes)
    return out


def _add_sums(out: Sums, block: Tensor, offsets: NDArray[np.int64], start: int, *, squares: bool) -> None:
    """Add up a slab of rows by group, in an order that depends on the groups and the slabs alone."""
    first, last = np.searchsorted(offsets, [start + 1, start + len(block)])  # groups first − 1 … last − 1
    lengths = np.diff(np.clip(offsets[first - 1 : last + 1], start, start + len(block)))
    pieces = -(-lengths // PIECE_ROWS)  # of each group, all but the last of full length
    of_pieces = np.full(pieces.sum(), PIECE_ROWS)
    of_pieces[pieces.cumsum() - 1] = lengths - (pieces - 1) * PIECE_ROWS
    cuts = [torch.from_numpy(n).to(block.device) for n in (of_pieces, pieces)]
    x = block.double()
    for total in (out.values, out.powers) if squares else (out.values,):
        x = x if total is out.values else x.square_()
        sums = x
        for lengths_of in cuts:
            sums = torch.segment_reduce(sums, "sum", lengths=lengths_of, axis=0, unsafe=True)
        total[first - 1 : last] += sums


def _u_of_rows(matrix: Matrix, rows: Tensor, groups: Tensor, split: Split, genes: slice) -> Tensor:
    n_groups, n_controls = len(split.offsets) - 1, len(split.controls)
    n_genes = len(range(*genes.indices(matrix.shape[1])))
    theirs = [csr.take(local) for _, csr, local in _csr_slabs(matrix, rows[:n_controls], genes)]
    values, columns = (torch.cat(parts) for parts in zip(*(part[:2] for part in theirs), strict=True))
    controls = mann_whitney.SortedControls.of(values, columns, n_controls, n_genes)
    excess = torch.zeros(n_groups, n_genes, dtype=torch.int64, device=rows.device)
    for start, csr, local in _csr_slabs(matrix, rows[n_controls:], genes):
        of_rows = groups[n_controls + start : n_controls + start + len(local)]
        mann_whitney.add_excess(excess, *csr[:3], local, of_rows, controls)
    sizes = torch.from_numpy(np.diff(split.offsets)).to(rows.device)[:, None]
    return (excess + sizes * controls.of_zero).double() / 2


def _csr_slabs(matrix: Matrix, rows: Tensor, genes: slice) -> Iterator[tuple[int, DeviceCsr, Tensor]]:
    """These rows compressed on their device: where among them a slab starts, a matrix, and the rows of it meant."""
    if (resident := matrix.resident(rows.device)) is not None:
        yield 0, resident, rows
        return
    columns = np.arange(*genes.indices(matrix.shape[1]))
    step = max(1, int(SLAB_BYTES // max(1, min(len(columns), matrix.entries_per_row) * matrix.dtype.itemsize)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        if matrix.is_sparse:
            csr = DeviceCsr.of(matrix.csr(part.cpu().numpy()), matrix.dtype, rows.device)
        else:
            csr = DeviceCsr.of_dense(matrix.rows(part, columns))
        yield start, csr, torch.arange(len(part), device=rows.device)


def _gene_slabs(matrix: Matrix, n_controls: int) -> Iterator[slice]:
    """All genes at once where zeros are not stored; else so many that their controls can be sorted together."""
    step = matrix.shape[1] if matrix.is_sparse else max(1, SLAB_BYTES // max(1, n_controls * matrix.dtype.itemsize))
    for start in range(0, matrix.shape[1], step):
        yield slice(start, start + step)
