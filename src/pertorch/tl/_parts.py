"""A split of a screen on disk in parts, what each of which needs of the file fits into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data import Matrix
from pertorch.exec import memory_budget
from pertorch.tl._gathered import Gathered, Wanted
from pertorch.tl._operator import Signature
from pertorch.tl._screen import Split
from pertorch.tl._status import Markers, testable


def in_parts(
    signature: Signature, splits: Sequence[Split], sets: Sequence[Markers], least: int
) -> Iterator[tuple[Signature, Split, Markers]]:
    """The signature, each split and its markers, in parts with some of a split's targets each.

    One part for each split where the signature's matrix is in memory. Of one in a file, (target ∪ control) × markers
    are gathered, in one pass for each part: the targets' cells at their own markers, the controls and the cells that
    others are compared with at the markers of all. Those of targets with fewer than `least` are not.
    """
    for split, markers in zip(splits, sets, strict=True):
        if isinstance(signature.matrix, Matrix) and signature.matrix.is_file:
            yield from _of_file(signature, split, markers, least)
        else:
            yield signature, split, markers


def _of_file(
    signature: Signature, split: Split, markers: Markers, least: int
) -> Iterator[tuple[Signature, Split, Markers]]:
    matrix = signature.matrix
    assert isinstance(matrix, Matrix)
    tested = testable(split, markers, least)
    chosen = np.array([h for h, genes in enumerate(tested) if len(genes)], dtype=np.int64)
    others = np.setdiff1d(np.arange(len(tested)), chosen)
    if not len(chosen):
        yield signature, split, markers
        return
    cells = np.concatenate([split.controls, *(split.cells(h) for h in chosen)])
    beside = np.union1d(split.controls, signature.sources(cells))
    for run in _runs(split, tested, chosen, len(beside), matrix.dtype.itemsize):
        targets = np.sort(np.concatenate([run, others]))
        others = others[:0]
        wanted = [Wanted(split.cells(h), np.unique(tested[h])) for h in run]
        wanted.append(Wanted(beside, np.unique(np.concatenate([tested[h] for h in run]))))
        read = np.concatenate([split.controls, *(split.cells(h) for h in run)])
        near = signature.among(np.sort(read), Gathered(matrix, wanted))
        yield near, split.only(targets), [markers[h] for h in targets]


def _runs(
    split: Split, markers: Markers, chosen: NDArray[np.int64], n_beside: int, itemsize: int
) -> Iterator[NDArray[np.int64]]:
    """Successive targets, at least one, whose blocks take no more than the budget.

    Those of the controls count four times: as read, as amounts, and as the solvers' float64.
    """
    budget = memory_budget(torch.device("cpu"))
    run: list[int] = []
    union, own = np.zeros(0, dtype=np.int64), 0
    for h in chosen.tolist():
        union = np.union1d(union, markers[h])
        own += int(split.sizes[h]) * len(markers[h])
        if run and itemsize * (own + 4 * n_beside * len(union)) > budget:
            yield np.array(run)
            run, union, own = [], markers[h], int(split.sizes[h]) * len(markers[h])
        run.append(h)
    yield np.array(run)
