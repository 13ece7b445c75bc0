"""The CPU path: one vectorised sort a gene. numpy lets other threads in meanwhile, so callers may run several."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def u_statistics(values: Tensor, cuts: Tensor, sizes: Tensor) -> Tensor:
    """See :func:`pertorch.ops.mann_whitney.u_statistics`."""
    stored, bounds, n = values.numpy(), cuts.numpy(), sizes.numpy()
    out = np.empty((len(bounds), len(n)))
    for at, of_gene in zip(bounds, out, strict=True):
        _one_gene(stored[at[0] : at[-1]], at - at[0], n, of_gene)
    return torch.from_numpy(out)


def u_beside(controls: Tensor, starts: Tensor, values: Tensor, cuts: Tensor, sizes: Tensor) -> Tensor:
    """See :func:`pertorch.ops.mann_whitney.u_beside`."""
    theirs, ours, first, bounds, n = (part.numpy() for part in (controls, values, starts, cuts, sizes))
    out = np.empty((len(bounds), len(n) - 1))
    for j, (at, of_gene) in enumerate(zip(bounds, out, strict=True)):
        _gene_beside(theirs[first[j] : first[j + 1]], ours[at[0] : at[-1]], at - at[0], n, of_gene)
    return torch.from_numpy(out)


def segment_sums(values: Tensor, cuts: Tensor, *, squared: bool) -> Tensor:
    """See :func:`pertorch.ops.mann_whitney.segment_sums`."""
    stored, bounds = values.numpy(), cuts.numpy()
    sums = np.empty((len(bounds), bounds.shape[1] - 1))
    for at, of_gene in zip(bounds, sums, strict=True):
        x = stored[at[0] : at[-1]].astype(np.float64)
        _segment_sums(np.square(x, out=x) if squared else x, at - at[0], of_gene)
    return torch.from_numpy(sums)


def _one_gene(x: NDArray[np.floating], at: NDArray[np.int64], sizes: NDArray[np.int64], out: Array) -> None:
    """U of one gene: `x` its non-zeros by group, ``at`` where each group begins."""
    order = np.argsort(x)
    ordered = x[order]
    below = np.zeros(len(x) + 1, dtype=np.int64)  # controls among the first i in order
    np.cumsum(order < at[1], out=below[1:])
    negative = int(np.searchsorted(ordered, 0))
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # of each run of ties
    if len(first) < len(x):
        lengths = np.diff(np.append(first, len(x)))
        twice = np.repeat(below[first] + below[first + lengths], lengths)
    else:
        twice = below[:-1] + below[1:]
    control_zeros = sizes[0] - at[1]
    twice[negative:] += 2 * control_zeros
    counts = np.empty(len(x))
    counts[order] = twice
    _segment_sums(counts, at, out)
    out += (sizes - np.diff(at)) * (2 * below[negative] + control_zeros)
    out /= 2


def _gene_beside(
    controls: NDArray[np.floating], x: NDArray[np.floating], at: NDArray[np.int64], sizes: NDArray[np.int64], out: Array
) -> None:
    """As :func:`_one_gene`, beside sorted controls: each value finds its place among them, the small ones first."""
    order = np.argsort(x)
    ordered = x[order]
    twice = controls.searchsorted(ordered) + controls.searchsorted(ordered, "right")
    control_zeros = sizes[0] - len(controls)
    twice[np.searchsorted(ordered, 0) :] += 2 * control_zeros
    counts = np.empty(len(x))
    counts[order] = twice
    _segment_sums(counts, at, out)
    out += (sizes[1:] - np.diff(at)) * (2 * controls.searchsorted(0) + control_zeros)
    out /= 2


def _segment_sums(x: Array, at: NDArray[np.int64], out: Array) -> None:
    """``out[h] = Σ x[at[h]:at[h + 1]]``: numpy's reduceat, which misreads empty segments."""
    filled = at[1:] > at[:-1]
    out[~filled] = 0
    if filled.any():
        out[filled] = np.add.reduceat(x, at[:-1][filled])
