"""Sums for the tests the way of a GPU: rows as they are stored, every value by itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pertorch.data import DeviceCsr, Matrix
from pertorch.exec import track
from pertorch.ops import mann_whitney
from pertorch.ops.segment import batches, stored_sums
from pertorch.tl._screen import Split
from pertorch.tl._sums import Sums

PIECE_ROWS = 256  # added up one after the other
SLAB_BYTES = 2**28  # of rows, or of sums of pieces; a few such are held at a time


def sums_by_rows(matrix: Matrix, split: Split, device: torch.device, *, ranks: bool) -> Sums:
    """As ``sums_by_columns``. The order of each sum depends on the group alone: not on slabs, nor on other groups.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    rows = torch.from_numpy(split.rows).to(device)
    slabs = _gene_slabs(matrix, len(split.controls))
    parts = [
        _of_genes(matrix, rows, split, genes, ranks=ranks)
        for genes in track(slabs, len(slabs), "markers", unit="slabs of genes")
    ]
    out = parts[0] if len(parts) == 1 else Sums(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))
    if not torch.isfinite(out.values).all():
        for part in rows.split(_rows_at_once(matrix, slice(None))):
            matrix.rows(part)  # raises, and names the cell
    return out


def _of_genes(matrix: Matrix, rows: Tensor, split: Split, genes: slice, *, ranks: bool) -> Sums:
    """Groups are cut into pieces, and the sums of the pieces added in turn."""
    n_controls, n_genes = len(split.controls), len(range(*genes.indices(matrix.shape[1])))
    sizes = torch.from_numpy(np.diff(split.offsets))
    n_pieces = -(-sizes // PIECE_ROWS)
    lengths = torch.full((int(n_pieces.sum()),), PIECE_ROWS)
    lengths[n_pieces.cumsum(0) - 1] = sizes - (n_pieces - 1) * PIECE_ROWS  # the last of a group is what is left
    first, starts = _ends(n_pieces), _ends(lengths)
    out = Sums(*torch.zeros(2, len(sizes), n_genes, dtype=torch.float64, device=rows.device))
    if ranks:
        controls = _sorted_controls(matrix, rows[:n_controls], genes, n_genes)
        excess = torch.zeros(len(sizes), n_genes, dtype=torch.int64, device=rows.device)
        groups = torch.repeat_interleave(sizes.to(rows.device), output_size=len(rows))
    for run in batches(n_pieces * (8 * n_genes), SLAB_BYTES):
        values, squares = [], []
        for slab in _slabs(matrix, lengths, range(first[run.start], first[run.stop]), genes, rows.device):
            here = slice(starts[slab.start], starts[slab.stop])
            csr, local = _stored(matrix, rows[here], genes)
            of_slab = lengths[slab].to(rows.device)
            values.append(stored_sums(*csr[:3], local, of_slab, n_genes, squared=False))
            if ranks:
                skip = max(0, n_controls - here.start)  # whose own U means nothing
                mann_whitney.add_excess(excess, *csr[:3], local[skip:], groups[here][skip:], controls)
            else:
                squares.append(stored_sums(*csr[:3], local, of_slab, n_genes, squared=True))
        of_run = n_pieces[run].to(rows.device)
        for total, of_pieces in ((out.values, values), (out.powers, squares)):
            if of_pieces:
                total[run] = torch.segment_reduce(torch.cat(of_pieces), "sum", lengths=of_run, axis=0, unsafe=True)
    if ranks:
        out.powers.copy_(excess + sizes.to(rows.device)[:, None] * controls.of_zero).div_(2)
    return out


def _sorted_controls(matrix: Matrix, rows: Tensor, genes: slice, n_genes: int) -> mann_whitney.SortedControls:
    theirs = []
    for part in rows.split(_rows_at_once(matrix, genes)):
        csr, local = _stored(matrix, part, genes)
        theirs.append(csr.take(local))
    values, columns = (torch.cat(parts) for parts in zip(*(part[:2] for part in theirs), strict=True))
    return mann_whitney.SortedControls.of(values, columns, len(rows), n_genes)


def _stored(matrix: Matrix, rows: Tensor, genes: slice) -> tuple[DeviceCsr, Tensor]:
    """These rows compressed on their device: a matrix, and the rows of it that are meant."""
    if (resident := matrix.resident(rows.device)) is not None:
        return resident, rows
    if matrix.is_sparse:
        csr = DeviceCsr.of(matrix.csr(rows.cpu().numpy()), matrix.dtype, rows.device)
    else:
        csr = DeviceCsr.of_dense(matrix.rows(rows, np.arange(*genes.indices(matrix.shape[1]))))
    return csr, torch.arange(len(rows), device=rows.device)


def _slabs(matrix: Matrix, lengths: Tensor, pieces: range, genes: slice, device: torch.device) -> list[slice]:
    """Runs of pieces that are on the device together."""
    if matrix.resident(device) is not None:
        return [slice(pieces.start, pieces.stop)]
    cuts = batches(lengths[pieces.start : pieces.stop], _rows_at_once(matrix, genes))
    return [slice(pieces.start + cut.start, pieces.start + cut.stop) for cut in cuts]


def _rows_at_once(matrix: Matrix, genes: slice) -> int:
    n_genes = len(range(*genes.indices(matrix.shape[1])))
    return max(1, int(SLAB_BYTES // max(1, min(n_genes, matrix.entries_per_row) * matrix.dtype.itemsize)))


def _gene_slabs(matrix: Matrix, n_controls: int) -> list[slice]:
    """All genes at once where zeros are not stored; else so many that their controls can be sorted together."""
    step = matrix.shape[1] if matrix.is_sparse else max(1, SLAB_BYTES // max(1, n_controls * matrix.dtype.itemsize))
    return [slice(start, start + step) for start in range(0, matrix.shape[1], step)]


def _ends(lengths: Tensor) -> list[int]:
    return [0, *lengths.cumsum(0).tolist()]
