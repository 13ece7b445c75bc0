"""Signatures read into the ragged batches that the solvers take: (target ∪ control) × markers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.exec import map_threads, upload
from pertorch.solvers.projection import Controls, Targets
from pertorch.tl._operator import Reader, Signature
from pertorch.tl._screen import Split

HOST = torch.device("cpu")
BATCH_BYTES = {"cpu": 2**27, "cuda": 2**31}
SLAB_BYTES = {"cpu": 2**24, "cuda": 2**28}  # of cells at all markers
# Float64 values that a solver holds for each point of a mixture: five powers, their masked copy, and the E step.
PER_POINT = 16
FEW_TARGETS = 8  # fewer at once do not pay

Markers = Sequence[NDArray[np.int64]]


def read_controls(
    signature: Signature, split: Split, markers: Markers, device: torch.device
) -> tuple[Controls, NDArray[np.int64]]:
    """The controls at the union of all markers, and that union."""
    union = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *markers]))
    values = torch.empty(len(union), len(split.controls), dtype=torch.float64, device=device)
    if len(union):
        read = signature.reader(device, union)
        for start, rows in _slabs(torch.from_numpy(split.controls).to(device), len(union)):
            values[:, start : start + len(rows)] = read(rows).T
    return Controls.of(values), union


def cut_batches(split: Split, markers: Markers, device: torch.device) -> list[NDArray[np.int64]]:
    """The targets that have markers, by position in the split, in batches for :func:`target_reader`.

    Targets of like size go together, so that little of a batch is padding; on a CPU every thread gets some.
    """
    kept = np.array([h for h, genes in enumerate(markers) if len(genes)], dtype=np.int64)
    kept = kept[np.argsort(-split.sizes[kept], kind="stable")]
    most = len(kept)
    if device.type == "cpu":
        most = max(FEW_TARGETS, -(-len(kept) // (2 * torch.get_num_threads())))
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


def target_reader(
    signature: Signature, split: Split, markers: Markers, union: NDArray[np.int64], device: torch.device
) -> Callable[[NDArray[np.int64]], Targets]:
    """A function of a batch of targets that gives their cells, each at its own markers.

    On a CPU what is not asked for is not touched. Where the signature lies on a GPU, or is made there, it is made at
    all markers in a few launches, and each cell keeps what is its own.
    """
    whole = signature.lies_on(device) and len(union) > 0
    read = signature.reader(device, union) if whole else None

    def of_batch(batch: NDArray[np.int64]) -> Targets:
        n, k = int(split.sizes[batch].max()), max(len(markers[h]) for h in batch)
        inside = np.arange(n) < split.sizes[batch][:, None]
        used, at = np.zeros((len(batch), k), dtype=bool), np.zeros((len(batch), k), dtype=np.int64)
        for b, h in enumerate(batch.tolist()):
            used[b, : len(markers[h])] = True
            at[b, : len(markers[h])] = np.searchsorted(union, markers[h])
        shape = tuple(torch.from_numpy(x).to(device) for x in (inside, at, used))
        if read is None:
            return Targets(_cell_by_cell(signature, split, batch, markers, shape), *shape)
        return Targets(_cells_alike(read, len(union), split, batch, shape), *shape)

    return of_batch


def _cell_by_cell(
    signature: Signature, split: Split, batch: NDArray[np.int64], markers: Markers, shape: tuple[Tensor, ...]
) -> Tensor:
    """Target by target, on the host."""
    inside, at, _ = shape
    values = torch.zeros(*inside.shape, at.shape[1], dtype=torch.float64)

    def fill(both: tuple[int, int]) -> None:
        b, h = both
        values[b, : split.sizes[h], : len(markers[h])] = signature.block(split.cells(h), HOST, markers[h])

    items = list(enumerate(batch.tolist()))
    # On a CPU the batches have their threads already.
    for _ in map_threads(fill, items, HOST) if inside.is_cuda else map(fill, items):
        pass
    return upload(values, inside.device)


def _cells_alike(
    read: Reader, n_columns: int, split: Split, batch: NDArray[np.int64], shape: tuple[Tensor, ...]
) -> Tensor:
    """All cells at the union of all markers, slab by slab, on the device."""
    inside, at, used = shape
    values = torch.zeros(*inside.shape, at.shape[1], dtype=torch.float64, device=inside.device)
    cells = torch.from_numpy(np.concatenate([split.cells(h) for h in batch.tolist()])).to(inside.device)
    target, place = torch.nonzero(inside, as_tuple=True)
    for start, rows in _slabs(cells, n_columns):
        of = target[start : start + len(rows)]
        taken = read(rows).gather(1, at[of]).double()
        values[of, place[start : start + len(rows)]] = taken * used[of]
    return values


def _slabs(rows: Tensor, n_columns: int) -> Iterator[tuple[int, Tensor]]:
    step = max(1, SLAB_BYTES[rows.device.type] // max(1, 8 * n_columns))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]
