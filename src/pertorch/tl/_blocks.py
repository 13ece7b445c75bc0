"""Signatures read into the ragged batches that the solvers take: (target ∪ control) × markers, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.solvers.projection import Controls, Targets
from pertorch.tl._operator import Signature
from pertorch.tl._screen import Split

BATCH_BYTES = {"cpu": 2**27, "cuda": 2**31}
# Float64 values that a solver holds for each point of a mixture: five powers, their masked copy, and the E step.
PER_POINT = 16
FEW_TARGETS = 8  # fewer at once do not pay

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


def cut_batches(split: Split, markers: Markers, device: torch.device) -> list[NDArray[np.int64]]:
    """The targets that have markers, by position in the split, in batches for :func:`read_targets`.

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


def read_targets(
    signature: Signature,
    split: Split,
    batch: NDArray[np.int64],
    markers: Markers,
    union: NDArray[np.int64],
    device: torch.device,
) -> Targets:
    """The cells of a batch of targets, each at its own markers."""
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
