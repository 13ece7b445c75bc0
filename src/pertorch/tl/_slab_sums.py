"""What a slab of cells adds to the sums of their targets, beside controls that are in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Slab, as_matrix
from pertorch.data._storage._base import csr_run
from pertorch.exec import map_threads
from pertorch.ops import mann_whitney
from pertorch.tl._row_sums import sums_by_rows
from pertorch.tl._screen import Split
from pertorch.tl._sums import Sums

GENES = 256  # that a thread works on at a time


@final
class SlabSums(NamedTuple):
    """Sums of the targets that a slab has, or several slabs have.

    Attributes
    ----------
    targets
        Their numbers, ascending.
    sums
        A row for each, none for the controls.
    """

    targets: NDArray[np.int64]
    sums: Sums

    @staticmethod
    def merged(parts: Sequence[SlabSums]) -> SlabSums:
        """Those of several slabs, added in their order."""
        targets = np.unique(np.concatenate([part.targets for part in parts]))
        total = torch.zeros(2, len(targets), parts[0].sums.values.shape[1], dtype=torch.float64)
        for part in parts:
            part.add_to(Sums(*total), np.searchsorted(targets, part.targets))
        return SlabSums(targets, Sums(*total))

    def add_to(self, total: Sums, rows: NDArray[np.int64]) -> None:
        """Add each target to one of the rows."""
        for of_all, of_slab in zip(total, self.sums, strict=True):
            of_all[torch.from_numpy(rows).to(of_all.device)] += of_slab.to(of_all.device)


@final
@dataclass(frozen=True)
class Beside:
    """A function of a slab that compares its cells with the controls of their split, as though they were all there are.

    Attributes
    ----------
    controls
        Those of each split at some genes. For U on a CPU a gene's values are in ascending order, no more by row: see
        :meth:`of`.
    ends
        The targets of split ``s`` are numbered ``ends[s]:ends[s + 1]``.
    genes
        Which genes.
    device
        Where to compare.
    ranks
        Whether to find U rather than squares.
    travels
        Whether what it gives is brought to the host.
    """

    controls: Sequence[sp.csc_array]
    ends: NDArray[np.int64]
    genes: slice
    device: torch.device
    ranks: bool
    travels: bool

    @classmethod
    def of(cls, controls: Sequence[sp.csc_array], device: torch.device, *, ranks: bool, **more: Any) -> Beside:
        """Sorts the controls where that helps: in place, once for all slabs."""
        if ranks and device.type == "cpu":
            for columns in controls:
                for start, stop in itertools.pairwise(columns.indptr.tolist()):
                    columns.data[start:stop].sort()
        return cls(controls, device=device, ranks=ranks, **more)

    def __call__(self, slab: Slab, targets: NDArray[np.int32]) -> SlabSums:
        """Of the cells that have the number of a target (−1: of none)."""
        here = np.flatnonzero(targets >= 0)
        here = here[np.argsort(targets[here], kind="stable")]
        cells = rows_of(slab, here, self.genes)
        present, sizes = np.unique(targets[here], return_counts=True)
        cuts, offsets = np.searchsorted(present, self.ends).tolist(), np.concatenate([[0], np.cumsum(sizes)])
        way = _by_columns if self.device.type == "cpu" else _by_rows
        parts = [Sums(*torch.zeros(2, 0, cells.shape[1], dtype=torch.float64, device=self.device))]
        for controls, (first, stop) in zip(self.controls, itertools.pairwise(cuts), strict=True):
            if first < stop:
                ours = csr_run(cells, slice(offsets[first], offsets[stop]))
                parts.append(way(controls, ours, sizes[first:stop], self.device, ranks=self.ranks))
        sums = [torch.cat(of) for of in zip(*parts, strict=True)]
        return SlabSums(present.astype(np.int64), Sums(*(of.cpu() if self.travels else of for of in sums)))

    def of_controls(self) -> list[Sums]:
        """The controls of each split by themselves, one row each."""
        return [_own_sums(controls) for controls in self.controls]


def rows_of(slab: Slab, index: NDArray[np.int64], genes: slice) -> sp.csr_array:
    """Some rows of a slab, dense or CSR, at some genes."""
    rows = slab.rows[index]
    rows = rows if sp.issparse(rows) else rows.numpy()
    return sp.csr_array(rows if genes == slice(0, rows.shape[1]) else rows[:, genes])


def _own_sums(controls: sp.csc_array) -> Sums:
    cuts = torch.from_numpy(controls.indptr.astype(np.int64)).unfold(0, 2, 1)
    values = torch.from_numpy(controls.data)
    return Sums(*(mann_whitney.segment_sums(values, cuts, squared=squared).T for squared in (False, True)))


def _by_columns(
    controls: sp.csc_array, cells: sp.csr_array, sizes: NDArray[np.int64], device: torch.device, *, ranks: bool
) -> Sums:
    """As ``sums_by_columns``, of controls and of cells by group, but without the controls' own."""
    columns = sp.csc_array(cells)
    columns.eliminate_zeros()
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    cuts = torch.from_numpy(mann_whitney.group_cuts(columns.indices, columns.indptr, offsets))
    starts = torch.from_numpy(controls.indptr.astype(np.int64))
    theirs, ours = torch.from_numpy(controls.data), torch.from_numpy(columns.data)
    n = torch.from_numpy(np.concatenate([[controls.shape[0]], sizes]))

    def work(genes: slice) -> tuple[Tensor, Tensor]:
        """Of some genes."""
        values = mann_whitney.segment_sums(ours, cuts[genes]).T
        if ranks:
            first = starts[genes.start : genes.stop + 1]
            return values, mann_whitney.u_beside(theirs, first, ours, cuts[genes], n).T
        return values, mann_whitney.segment_sums(ours, cuts[genes], squared=True).T

    n_genes = controls.shape[1]
    step = max(1, min(GENES, -(-n_genes // torch.get_num_threads())))
    found = list(map_threads(work, [slice(g, min(g + step, n_genes)) for g in range(0, n_genes, step)], device))
    return Sums(*(torch.cat(part, 1) for part in zip(*found, strict=True)))


def _by_rows(
    controls: sp.csc_array, cells: sp.csr_array, sizes: NDArray[np.int64], device: torch.device, *, ranks: bool
) -> Sums:
    """As ``sums_by_rows``, of controls and of cells by group, but without the controls' own."""
    both = as_matrix(sp.vstack([sp.csr_array(controls), cells], format="csr"), "controls and targets")
    everyone, n_controls = np.arange(both.shape[0]), controls.shape[0]
    offsets = np.concatenate([[0, n_controls], n_controls + np.cumsum(sizes)]).astype(np.int64)
    split = Split(None, everyone, everyone, offsets, np.arange(len(sizes)))
    return Sums(*(part[1:] for part in sums_by_rows(both, split, device, ranks=ranks)))
