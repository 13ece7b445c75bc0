"""Group sums and moments in torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple, final

import torch
from torch import Tensor

Slab = tuple[int, Tensor]  # position of the first row among all rows, and consecutive rows of shape (m, d)


@final
class Moments(NamedTuple):
    """Mean and variance of each feature in each group and replicate.

    Attributes
    ----------
    n
        Weight of the rows, shape ``(k, r, 1)``.
    mean, variance
        Shape ``(k, r, d)``, float64; the variance is divided by `n` (ddof 0).
    """

    n: Tensor
    mean: Tensor
    variance: Tensor


def pieces(slabs: Iterable[Slab], offsets: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Cut slabs where groups end: group, position of the first row among all rows, and rows of that group."""
    cuts = offsets.tolist()
    g = 0
    for start, rows in slabs:
        stop = start + len(rows)
        while g < len(cuts) - 1 and cuts[g] < stop:
            a, b = max(start, cuts[g]), min(stop, cuts[g + 1])
            if a < b:
                yield g, a, rows[a - start : b - start]
            if cuts[g + 1] > stop:
                break  # the next slab goes on with this group
            g += 1


def group_sums(rows: Tensor | Iterable[Slab], offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum the rows of each group: ``S[g, r] = Σ_{i in g} w[i, r] x[i]``.

    Parameters
    ----------
    rows
        Shape ``(n, d)``, sorted by group, any floating dtype and device; or slabs of them, in order.
    offsets
        Shape ``(k + 1,)``, int64 on the CPU: group ``g`` is ``rows[offsets[g]:offsets[g + 1]]``.
    weights
        Shape ``(n, r)``, or ``None`` for one replicate in which each row counts once.

    Returns
    -------
    Shape ``(k, r, d)``, float64, on the device of `rows`. The order of addition depends on the group alone,
    so the bits do not depend on the other groups nor on the number of threads.
    """
    out, slabs = _begin([(0, rows)] if isinstance(rows, Tensor) else rows, offsets, weights)
    for g, at, block in pieces(slabs, offsets):
        if weights is None:
            out[g] += block.sum(0, keepdim=True, dtype=torch.float64)
        else:
            out[g] += _weighted_sum(block.double(), at, weights)
    return out


def group_moments(slabs: Iterable[Slab], offsets: Tensor, weights: Tensor | None = None) -> Moments:
    """Mean and variance of the rows of each group, in one pass.

    Sums are taken about the group's first row, so that a common offset costs no digits and the variance of a constant
    is exactly 0. Parameters as for :func:`group_sums`.
    """
    first, slabs = _begin(slabs, offsets, weights)
    second, origin = torch.zeros_like(first), torch.zeros_like(first[:, :1])
    for g, at, rows in pieces(slabs, offsets):
        block = rows.double()
        if at == int(offsets[g]):
            origin[g] = block[0]
        block = block - origin[g]
        first[g] += _weighted_sum(block, at, weights)
        second[g] += _weighted_sum(block.square_(), at, weights)
    return about_origin(group_weights(offsets, weights).to(origin.device), origin, first, second)


def about_origin(n: Tensor, origin: Tensor, first: Tensor, second: Tensor) -> Moments:
    """Moments from sums of ``x − origin`` and of its square."""
    shift, square = first.div_(n), second.div_(n)
    variance = square - shift.square()
    # What is smaller than its own rounding error is 0: a replicate that drew one cell again and again.
    noise = 16 * torch.finfo(torch.float64).eps
    return Moments(n, shift.add_(origin), variance.masked_fill_(variance <= noise * square, 0))


def group_weights(offsets: Tensor, weights: Tensor | None) -> Tensor:
    """Rows of each group counted with their weights: shape ``(k, r, 1)``, float64."""
    if weights is None:
        return offsets.diff().double()[:, None, None]
    lengths = offsets.diff().to(weights.device)
    return torch.segment_reduce(weights.double(), "sum", lengths=lengths, axis=0)[:, :, None]


def _begin(slabs: Iterable[Slab], offsets: Tensor, weights: Tensor | None) -> tuple[Tensor, Iterable[Slab]]:
    """Zeros of shape ``(k, r, d)`` where the slabs lie, and the slabs."""
    slabs = iter(slabs)
    first = next(slabs)
    shape = len(offsets) - 1, 1 if weights is None else weights.shape[1], first[1].shape[1]
    return torch.zeros(shape, dtype=torch.float64, device=first[1].device), itertools.chain([first], slabs)


def _weighted_sum(block: Tensor, at: int, weights: Tensor | None) -> Tensor:
    if weights is None:
        return block.sum(0, keepdim=True)
    return weights[at : at + len(block)].double().T @ block
