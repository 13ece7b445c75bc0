"""One function over batches of targets, wherever the signature is made from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data import Matrix
from pertorch.exec import compute_tasks, map_devices, map_threads, progress_bar, shared, task
from pertorch.solvers.projection import Controls, Targets
from pertorch.tl._blocks import Batch, cut_batches, read_controls, target_reader
from pertorch.tl._gathered import Gathered
from pertorch.tl._near import gathered_task
from pertorch.tl._operator import Signature
from pertorch.tl._parts import Part, cut_parts, union_of
from pertorch.tl._screen import Split
from pertorch.tl._status import Markers

R = TypeVar("R")
Work = Callable[[Targets, Controls], R]
Index = NDArray[np.int64]
Found = tuple[Index, R]


def map_targets(
    work: Work[R],
    signature: Signature,
    split: Split,
    markers: Markers,
    devices: Sequence[torch.device],
    name: str,
) -> Iterator[Found[R]]:
    """What `work` gives for each batch of the targets that have markers.

    The batches depend on the screen alone, and so does what is found: a matrix in a file is read for a run of them at
    a time, and several devices, or Dask's workers, divide them.

    Parameters
    ----------
    name
        What a progress bar says.
    """
    batches, matrix = cut_batches(split, markers, devices[0]), signature.matrix
    with progress_bar(lambda: sum(map(len, batches)), name, unit="targets") as bar:
        if not (isinstance(matrix, Matrix) and matrix.is_file):
            yield from _on_devices(work, signature, split, markers, batches, devices, bar.update)
            return
        for part in cut_parts(signature, split, markers, batches):
            if matrix.is_dask:
                yield from _by_tasks(work, signature, split, markers, part, devices[0], bar.update)
                continue
            near = signature.among(part.cells, Gathered.read(matrix, part.wanted))
            yield from _on_devices(work, near, split, markers, part.batches, devices, bar.update)


def _on_devices(
    work: Work[R],
    signature: Signature,
    split: Split,
    markers: Markers,
    batches: Sequence[Index],
    devices: Sequence[torch.device],
    tick: Callable[[int], object],
) -> Iterator[Found[R]]:
    union = union_of(markers, batches)

    def on_device(device: torch.device, run: slice) -> list[Found[R]]:
        if not (mine := batches[run]):
            return []
        controls = read_controls(signature, split.controls, union, device)
        read = target_reader(signature, union, device)
        found = []
        for targets, of_batch in zip(
            mine,
            map_threads(lambda targets: work(read(Batch.of(split, markers, targets)), controls), mine, device),
            strict=True,
        ):
            found.append((targets, of_batch))
            tick(len(targets))
        return found

    def cost() -> torch.Tensor:
        return torch.tensor([int(split.sizes[batch].sum()) + len(batch) * len(split.controls) for batch in batches])

    return itertools.chain.from_iterable(map_devices(devices, cost, on_device))


def _by_tasks(
    work: Work[R],
    signature: Signature,
    split: Split,
    markers: Markers,
    part: Part,
    device: torch.device,
    tick: Callable[[int], object],
) -> Iterator[Found[R]]:
    """A task for each batch. What all of them need is picked from the chunks, and goes to each worker once."""
    near, union = gathered_task(signature, part.cells, part.wanted), union_of(markers, part.batches)
    there = torch.device(device.type)  # each worker has its own
    controls = task(_controls, near, shared(split.controls), union, there)
    tasks = [task(_solved, work, near, controls, Batch.of(split, markers, b), union, there) for b in part.batches]
    found = compute_tasks(tasks, lambda i: tick(len(part.batches[i])))
    return zip(part.batches, found, strict=True)


def _controls(signature: Signature, cells: Index, union: Index, device: torch.device) -> Controls:
    return Controls(*(of.cpu() for of in read_controls(signature, cells, union, device)))


def _solved(
    work: Work[R], signature: Signature, controls: Controls, batch: Batch, union: Index, device: torch.device
) -> R:
    """What `work` gives, as one of several threads here would do it."""
    read, there = target_reader(signature, union, device), Controls(*(of.to(device) for of in controls))
    (found,) = map_threads(lambda targets: work(read(targets), there), [batch], device)
    return found
