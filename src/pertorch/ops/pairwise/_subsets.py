"""Sums within many subsets of one size, in torch: a batch of small matrices at a time, not tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.ops.pairwise._kernels import Kernel, limit, surely
from pertorch.ops.pairwise._reduction import operands
from pertorch.ops.pairwise._torch import block_sums

NUMBERS = {"cpu": 2**18, "cuda": 2**26}  # of the matrices of a batch: they stay in a core's L2


def within_sums(points: Tensor, subsets: Sequence[Tensor], *, kernel: Kernel) -> list[Tensor]:
    """See :func:`pertorch.ops.pairwise.within_sums`."""
    parts = operands(points, kernel)
    return [_of_one_size(points, parts, rows, kernel) for rows in subsets]


def _of_one_size(points: Tensor, parts: tuple[Tensor, Tensor, Tensor], subsets: Tensor, kernel: Kernel) -> Tensor:
    n, most, numbers = subsets.shape[1], limit(subsets.shape[1]), NUMBERS[points.device.type]
    if n**2 > numbers:  # one is enough for all threads
        return torch.stack([_alone(points[subset], kernel) for subset in subsets])
    row, column, norm = parts

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
            out[i] = _alone(points[some[i]], kernel)
        return out

    return torch.cat(list(map_threads(sums_of, subsets.split(max(1, numbers // n**2)), points.device)))


def _alone(points: Tensor, kernel: Kernel) -> Tensor:
    zero, offsets = torch.tensor([0]), torch.tensor([0, len(points)])
    return block_sums(points, offsets, zero, zero, kernel=kernel, weights=None, tick=None)[0, 0]
