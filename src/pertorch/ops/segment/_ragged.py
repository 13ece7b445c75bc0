"""Runs of unequal length that lie end to end in one array."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def expand(start: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Positions ``start[i], …, start[i] + lengths[i] − 1`` of every run, end to end, and the run each belongs to.

    Examples
    --------
    >>> expand(torch.tensor([7, 0]), torch.tensor([2, 3]))
    (tensor([7, 8, 0, 1, 2]), tensor([0, 0, 1, 1, 1]))
    """
    run = torch.repeat_interleave(lengths)
    begin = start - (lengths.cumsum(0) - lengths)
    return torch.arange(len(run), device=run.device) + begin[run], run


def ragged_sum(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum of each run; 0 for an empty one."""
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)


def ragged_max(values: Tensor, lengths: Tensor) -> Tensor:
    """Largest value of each run; −∞ for an empty one."""
    return torch.segment_reduce(values, "max", lengths=lengths, unsafe=True)


def batches(cost: Tensor, most: int) -> list[slice]:
    """Cut items into runs of about `most` in cost, at least one item each.

    Examples
    --------
    >>> batches(torch.tensor([3, 3, 3, 9, 1]), 6)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    task = torch.div(cost.cumsum(0) - cost, most, rounding_mode="floor").long()
    ends = torch.unique_consecutive(task, return_counts=True)[1].cumsum(0).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise([0, *ends])]


def join(parts: Sequence[Any]) -> Any:
    """Tensors, or named tuples of tensors field by field, end to end."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return type(parts[0])(*map(join, zip(*parts, strict=True)))
