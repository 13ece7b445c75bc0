"""Sums within many subsets of one size, in torch: a batch of small matrices at a time, not tile by tile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.ops.pairwise import _torch
from pertorch.ops.pairwise._kernels import Kernel, limit, surely

NUMBERS = {"cpu": 2**18, "cuda": 2**26}  # of the matrices of a batch: they stay in a core's L2


def supports(index: Tensor, offsets: Tensor, left: Tensor, right: Tensor) -> bool:
    """Whether groups of one size each meet themselves, in order."""
    n, sizes = len(index) // max(1, len(left)), offsets.diff()
    alone = len(sizes) == len(left) and torch.equal(left, right) and torch.equal(left.cpu(), torch.arange(len(left)))
    return alone and n > 0 and bool((sizes == n).all())


def within_sums(
    points: Tensor, subsets: Tensor, *, kernel: Kernel, tick: Callable[[int], object] | None = None
) -> Tensor:
    """``Σ_i Σ_j κ(x_i, x_j)`` over all ordered pairs within each subset.

    Parameters
    ----------
    points, kernel, tick
        As for :func:`pertorch.ops.pairwise.block_sums`.
    subsets
        Rows of each subset, shape ``(s, n)``, int64.

    Returns
    -------
    Shape ``(s,)``, float64: for a subset the same bits whatever other subsets are asked for.
    """
    n, most, numbers = subsets.shape[1], limit(subsets.shape[1]), NUMBERS[points.device.type]
    if n**2 > numbers:  # one is enough for all threads
        return torch.stack([_alone(points[subset], kernel, tick) for subset in subsets])
    row, column, norm = _torch.operands(points, kernel)

    def sums_of(some: Tensor) -> Tensor:
        values = torch.bmm(row[some], column[some].transpose(1, 2))
        if not kernel.of_distance:
            return kernel.apply(values).sum(2).double().sum(1)
        diagonal = values.diagonal(dim1=1, dim2=2)
        diagonal.fill_(float("inf"))
        sure = surely(kernel, values.amin((1, 2)), 2 * norm[some, 0].amax(1), most)
        diagonal.fill_(0)
        out = kernel.apply(values.clamp_(min=0)).sum(2).double().sum(1)
        for i in torch.nonzero(~sure)[:, 0].tolist():
            out[i] = _alone(points[some[i]], kernel, None)
        return out

    parts = []
    for some in map_threads(sums_of, subsets.split(max(1, numbers // n**2)), points.device):
        parts.append(some)
        if tick:
            tick(len(some) * (n**2 // 2))
    return torch.cat(parts)


def _alone(points: Tensor, kernel: Kernel, tick: Callable[[int], object] | None) -> Tensor:
    zero, offsets = torch.tensor([0]), torch.tensor([0, len(points)])
    return _torch.block_sums(points, offsets, zero, zero, kernel=kernel, weights=None, tick=tick)[0, 0]
