"""Ranks along the last axis, and Kendall's tau between them."""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Ranks along the last axis, from 1, equal values at the average of theirs: float64.

    Examples
    --------
    >>> average_ranks(torch.tensor([3.0, 1.0, 3.0]))
    tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)
    """
    ordered, index = values.sort(dim=-1)
    first = _run_starts(ordered)
    last = values.shape[-1] - 1 - _run_starts(ordered.flip(-1)).flip(-1)  # backwards, a run starts where it ends
    return torch.empty_like(first, dtype=torch.float64).scatter_(-1, index, (first + last).double() / 2 + 1)


def dense_ranks(values: Tensor) -> Tensor:
    """Ranks along the last axis, from 0 and without gaps, equal values sharing one: int64.

    Examples
    --------
    >>> dense_ranks(torch.tensor([3.0, 1.0, 3.0]))
    tensor([1, 0, 1])
    """
    ordered, index = values.sort(dim=-1)
    ranks = torch.zeros_like(index)
    ranks[..., 1:] = (ordered.diff(dim=-1) != 0).cumsum(-1)
    return torch.empty_like(ranks).scatter_(-1, index, ranks)


def kendall_tau(x: Tensor, y: Tensor) -> Tensor:
    """Kendall's tau-b between two arrays of :func:`dense_ranks`, over the last axis; NaN where one is constant.

    Knight's count (1966): after sorting by x, a discordant pair is an inversion of y.
    """
    p = x.shape[-1]
    joint = (x * p + y).sort(dim=-1).values
    in_x, in_y = torch.div(joint, p, rounding_mode="floor"), joint % p
    pairs = p * (p - 1) // 2
    tied_x, tied_both, tied_y = (_tied_pairs(t) for t in (in_x, joint, in_y.sort(dim=-1).values))
    # Ties in x stand in order of y and so add no inversion.
    score = pairs - tied_x - tied_y + tied_both - 2 * _inversions(in_y)
    scale = (pairs - tied_x).double().sqrt() * (pairs - tied_y).double().sqrt()
    return (score / scale).clamp(-1, 1)


def _run_starts(ordered: Tensor) -> Tensor:
    """Position at which the run of equal values that each element is in begins."""
    start = torch.zeros(ordered.shape, dtype=torch.int64, device=ordered.device)
    position = torch.arange(1, ordered.shape[-1], device=ordered.device)
    start[..., 1:] = torch.where(ordered.diff(dim=-1) != 0, position, 0)
    return start.cummax(-1).values


def _tied_pairs(ordered: Tensor) -> Tensor:
    """Pairs of equal elements: each element with those before it in its run."""
    return (torch.arange(ordered.shape[-1], device=ordered.device) - _run_starts(ordered)).sum(-1)


def _inversions(ranks: Tensor) -> Tensor:
    """Pairs ``i < j`` with ``ranks[i] > ranks[j]``, ranks in ``[0, p)``.

    Bit by bit from the top: elements whose higher bits agree stand together in their old order, and among them each 0
    of the next bit is inverted with every 1 before it. A stable partition by that bit gives the next level.
    """
    p = ranks.shape[-1]
    flat = ranks.reshape(-1, p)
    count = torch.zeros_like(flat)
    below = count.scatter_add(-1, flat, torch.ones_like(flat)).cumsum(-1)
    below = torch.cat([torch.zeros_like(below[:, :1]), below], 1)  # elements smaller than each rank
    total = torch.zeros_like(flat[:, 0])
    position = torch.arange(p, device=ranks.device)
    for bit in range((p - 1).bit_length() - 1, -1, -1):
        one = (flat >> bit) & 1
        base = (flat >> (bit + 1)) << (bit + 1)
        start = below.gather(1, base)
        ones = torch.cat([torch.zeros_like(one[:, :1]), one.cumsum(1)], 1)
        ones_before = ones[:, :-1] - ones.gather(1, start)
        total += (ones_before * (1 - one)).sum(1)
        zeros = below.gather(1, (base + (1 << bit)).clamp_(max=p)) - start
        target = start + torch.where(one == 1, zeros + ones_before, position - start - ones_before)
        flat = torch.empty_like(flat).scatter_(1, target, flat)
    return total.reshape(ranks.shape[:-1])
