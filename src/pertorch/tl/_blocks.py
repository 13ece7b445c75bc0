"""Signatures read into the ragged batches that the solvers take: (target ∪ control) × markers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix
from pertorch.exec import upload
from pertorch.solvers.projection import Controls, Targets
from pertorch.tl._gathered import Gathered
from pertorch.tl._operator import Reader, Signature, StoredSignature
from pertorch.tl._screen import Split
from pertorch.tl._status import Markers

BATCH_BYTES = {"cpu": 2**27, "cuda": 2**31}
SLAB_BYTES = {"cpu": 2**24, "cuda": 2**28}  # of cells at all markers
# Float64 values that a solver holds for each point of a mixture: five powers, their masked copy, and the E step.
PER_POINT = 16
FEW_TARGETS = {"cpu": 8, "cuda": 1}  # fewer at once do not pay
BATCHES = 4  # at least, so that several threads or GPUs have something to share; more would cost more


@final
class Batch(NamedTuple):
    """Cells of some targets, and each one's markers."""

    cells: list[NDArray[np.int64]]
    markers: list[NDArray[np.int64]]

    @classmethod
    def of(cls, split: Split, markers: Markers, targets: NDArray[np.int64]) -> Batch:
        """Of targets of a split, by position."""
        return cls([split.cells(h) for h in targets], [markers[h] for h in targets])


def read_controls(
    signature: Signature, controls: NDArray[np.int64], union: NDArray[np.int64], device: torch.device
) -> Controls:
    """The controls at the union of all markers."""
    values = torch.empty(len(union), len(controls), dtype=torch.float64, device=device)
    if len(union):
        read = _reader(signature, union, device)
        for start, rows in _slabs(torch.from_numpy(controls).to(device), len(union)):
            values[:, start : start + len(rows)] = read(rows).T
    return Controls.of(values)


def cut_batches(split: Split, markers: Markers, device: torch.device) -> list[NDArray[np.int64]]:
    """The targets that have markers, by position in the split, in batches for :func:`target_reader`.

    Targets of like size go together, so that little of a batch is padding. Threads, devices and the budget have no say:
    what is added up over padded cells depends, in its last bits, on the padding.
    """
    kept = np.array([h for h, genes in enumerate(markers) if len(genes)], dtype=np.int64)
    kept = kept[np.argsort(-split.sizes[kept], kind="stable")]
    most = max(FEW_TARGETS[device.type], -(-len(kept) // BATCHES))
    batches, start = [], 0
    while start < len(kept):
        n, k, stop = int(split.sizes[kept[start]]), 0, start
        while stop < min(len(kept), start + most):
            k = max(k, len(markers[kept[stop]]))
            of_one = 8 * (2 * n * k + PER_POINT * (n + len(split.controls)))
            if stop > start and (stop - start + 1) * of_one > BATCH_BYTES[device.type]:
                break
            stop += 1
        batches.append(kept[start:stop])
        start = stop
    return batches


def target_reader(signature: Signature, union: NDArray[np.int64], device: torch.device) -> Callable[[Batch], Targets]:
    """A function of a batch of targets that gives their cells, each at its own markers."""
    read = way_to_read(signature, union, device)

    def of_batch(batch: Batch) -> Targets:
        sizes, n_genes = (np.array([len(of) for of in each]) for each in batch)
        n, k = int(sizes.max()), int(n_genes.max())
        inside, used = np.arange(n) < sizes[:, None], np.arange(k) < n_genes[:, None]
        # Where a target has fewer markers than another its first one stands, which costs no access to memory.
        genes = np.stack([np.concatenate([of, np.full(k - len(of), of[0])]) for of in batch.markers])
        at = np.searchsorted(union, genes)
        cells = np.zeros((len(sizes), n), dtype=np.int64)
        cells[inside] = np.concatenate(batch.cells)
        there = tuple(torch.from_numpy(x).to(device) for x in (inside, np.where(used, at, 0), used))
        values = read(Wanted(cells, inside, genes, at, n_genes.tolist()), device)
        return Targets(values.mul_(there[0][:, :, None] & there[2][:, None]), *there)

    return of_batch


@final
class Wanted(NamedTuple):
    """Cells and genes of a batch of targets, padded.

    Attributes
    ----------
    cells, inside
        Shape ``(B, n)``: rows of the signature, and which of them are meant.
    genes, places
        Shape ``(B, k)``: columns of it, and positions of these in the union of all markers.
    n_genes
        How many are meant; behind them the first is repeated.
    """

    cells: NDArray[np.int64]
    inside: NDArray[np.bool_]
    genes: NDArray[np.int64]
    places: NDArray[np.int64]
    n_genes: list[int]


def way_to_read(
    signature: Signature, union: NDArray[np.int64], device: torch.device
) -> Callable[[Wanted, torch.device], Tensor]:
    """How a batch is best read: float64, shape ``(B, n, k)``, anything in the padding.

    On a CPU, and of what was gathered, target by target. For a GPU single values are picked out of an array on the
    host; what lies on the GPU, or is made there, is made at all markers in a few launches, and each cell keeps what is
    its own.
    """
    if device.type == "cpu" or not len(union) or isinstance(signature.matrix, Gathered):
        return partial(_target_by_target, signature)
    if isinstance(signature, StoredSignature) and signature.matrix.is_host_array:
        return partial(_picked, signature)
    return partial(_cells_alike, _reader(signature, union, device), len(union))


def _reader(signature: Signature, union: NDArray[np.int64], device: torch.device) -> Reader:
    return signature.reader(device, union if len(union) < signature.shape[1] else None)


def _target_by_target(signature: Signature, wanted: Wanted, device: torch.device) -> Tensor:
    values = torch.zeros(*wanted.cells.shape, wanted.genes.shape[1], dtype=torch.float64, device=device)
    for b, (cells, genes, k) in enumerate(zip(wanted.cells, wanted.genes, wanted.n_genes, strict=True)):
        n = int(np.count_nonzero(wanted.inside[b]))
        values[b, :n, :k] = signature.block(cells[:n], device, genes[:k])
    return values


def _picked(signature: StoredSignature, wanted: Wanted, device: torch.device) -> Tensor:
    target, place = (torch.from_numpy(i) for i in np.nonzero(wanted.inside))
    assert isinstance(signature.matrix, Matrix)
    found = signature.matrix.pick(torch.from_numpy(wanted.cells[wanted.inside]), torch.from_numpy(wanted.genes)[target])
    values = torch.zeros(*wanted.cells.shape, found.shape[1], dtype=torch.float64, device=device)
    values[target.to(device), place.to(device)] = upload(found, device).double()
    return values


def _cells_alike(read: Reader, n_columns: int, wanted: Wanted, device: torch.device) -> Tensor:
    target, place = (torch.from_numpy(i).to(device) for i in np.nonzero(wanted.inside))
    cells, order = torch.from_numpy(wanted.cells[wanted.inside]).to(device).sort()  # as they are stored
    target, place, at = target[order], place[order], torch.from_numpy(wanted.places).to(device)
    values = torch.zeros(*wanted.cells.shape, at.shape[1], dtype=torch.float64, device=device)
    for start, rows in _slabs(cells, n_columns):
        here = slice(start, start + len(rows))
        values[target[here], place[here]] = read(rows).gather(1, at[target[here]]).double()
    return values


def _slabs(rows: Tensor, n_columns: int) -> Iterator[tuple[int, Tensor]]:
    step = max(1, SLAB_BYTES[rows.device.type] // max(1, 8 * n_columns))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]
