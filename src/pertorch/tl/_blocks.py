"""Signatures read into the ragged batches that the solvers take: (target ∪ control) × markers, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.solvers.projection import Controls, Targets
from pertorch.tl._operator import Signature
from pertorch.tl._screen import Split

BATCH_BYTES = {"cpu": 2**27, "cuda": 2**31}
# Float64 values that a solver holds for each point of a mixture: five powers, their masked copy, and the E step.
PER_POINT = 16

Markers = Sequence[NDArray[np.int64]]


def read_controls(
    signature: Signature, split: Split, markers: Markers, device: torch.device
) -> tuple[Controls, NDArray[np.int64]]:
    """The controls at the union of all markers, and that union."""
    union = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *markers]))
    if not len(union):
        return Controls.of(torch.empty(0, len(split.controls), dtype=torch.float64, device=device)), union
    values = signature.block(split.controls, device, union)
    return Controls.of(values.T.to(torch.float64).contiguous()), union


def read_targets(
    signature: Signature, split: Split, markers: Markers, union: NDArray[np.int64], device: torch.device
) -> Iterator[tuple[NDArray[np.int64], Targets]]:
    """Batches of the targets that have markers: their positions in the split, and their cells."""
    kept = np.array([h for h, genes in enumerate(markers) if len(genes)], dtype=np.int64)
    n_markers = np.array([len(markers[h]) for h in kept], dtype=np.int64)
    for batch in _batches(split.sizes[kept], n_markers, len(split.controls), BATCH_BYTES[device.type]):
        yield kept[batch], _targets(signature, split, kept[batch], markers, union, device)


def _batches(
    n_cells: NDArray[np.int64], n_markers: NDArray[np.int64], n_controls: int, most: int
) -> Iterator[NDArray[np.int64]]:
    """Targets of like size together, so that little of a batch is padding."""
    order = np.argsort(-n_cells, kind="stable")
    start = 0
    while start < len(order):
        n, k, stop = int(n_cells[order[start]]), 0, start
        while stop < len(order):
            k = max(k, int(n_markers[order[stop]]))
            if stop > start and (stop - start + 1) * 8 * (2 * n * k + PER_POINT * (n + n_controls)) > most:
                break
            stop += 1
        yield order[start:stop]
        start = stop


def _targets(
    signature: Signature,
    split: Split,
    batch: NDArray[np.int64],
    markers: Markers,
    union: NDArray[np.int64],
    device: torch.device,
) -> Targets:
    n, k = int(split.sizes[batch].max()), max(len(markers[h]) for h in batch)
    values = torch.zeros(len(batch), n, k, dtype=torch.float64, device=device)
    inside, used = np.zeros((len(batch), n), dtype=bool), np.zeros((len(batch), k), dtype=bool)
    at = np.zeros((len(batch), k), dtype=np.int64)
    for b, h in enumerate(batch.tolist()):
        cells, genes = split.cells(h), markers[h]
        values[b, : len(cells), : len(genes)] = signature.block(cells, device, genes)
        inside[b, : len(cells)], used[b, : len(genes)] = True, True
        at[b, : len(genes)] = np.searchsorted(union, genes)
    return Targets(values, *(torch.from_numpy(x).to(device) for x in (inside, at, used)))
