"""The batches of a split in parts, what each of which needs of a matrix that is not in memory fits there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.exec import memory_budget
from pertorch.tl._gathered import Wanted
from pertorch.tl._operator import Signature
from pertorch.tl._screen import Split
from pertorch.tl._status import Markers

Index = NDArray[np.int64]


@final
class Part(NamedTuple):
    """A run of batches.

    Attributes
    ----------
    batches
        Targets, by position in the split.
    cells
        Whose signatures are read, ascending.
    wanted
        What they are made of, (target ∪ control) × markers: the targets' cells at their own markers, the controls and
        the cells that others are compared with at the markers of all.
    """

    batches: list[Index]
    cells: Index
    wanted: list[Wanted]


def cut_parts(signature: Signature, split: Split, markers: Markers, batches: Sequence[Index]) -> Iterator[Part]:
    """Runs of whole batches, at least one: so the budget decides how often the matrix is read, and nothing else."""
    if not batches:
        return
    everyone = [split.controls, *(split.cells(h) for batch in batches for h in batch)]
    beside = np.union1d(split.controls, signature.sources(np.concatenate(everyone)))
    for run in _runs(split, markers, batches, len(beside), signature.matrix.dtype.itemsize):
        targets = np.concatenate(run)
        wanted = [Wanted(split.cells(h), np.unique(markers[h])) for h in targets]
        wanted.append(Wanted(beside, union_of(markers, run)))
        cells = np.concatenate([split.controls, *(split.cells(h) for h in targets)])
        yield Part(run, np.sort(cells), wanted)


def union_of(markers: Markers, batches: Sequence[Index]) -> Index:
    """The markers of all targets of some batches, ascending."""
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(markers[h] for batch in batches for h in batch)]))


def _runs(
    split: Split, markers: Markers, batches: Sequence[Index], n_beside: int, itemsize: int
) -> Iterator[list[Index]]:
    """Successive batches whose blocks take no more than the budget.

    Those of the controls count four times: as read, as amounts, and as the solvers' float64.
    """
    budget = memory_budget(torch.device("cpu"))
    run: list[Index] = []
    union, own = np.zeros(0, dtype=np.int64), 0
    for batch in batches:
        theirs, values = union_of(markers, [batch]), sum(int(split.sizes[h]) * len(markers[h]) for h in batch)
        union, own = np.union1d(union, theirs), own + values
        if run and itemsize * (own + 4 * n_beside * len(union)) > budget:
            yield run
            run, union, own = [], theirs, values
        run.append(batch)
    yield run
