"""Sums and moments of groups whose rows are scattered over chunks: of each chunk, then merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.ops.segment._csr import csr_group_moments, csr_group_sums
from pertorch.ops.segment._torch import Moments, group_moments, group_sums


@final
class PartialSums(NamedTuple):
    """Sums over the rows that some chunks have of some groups.

    Attributes
    ----------
    groups
        Which groups, ascending: shape ``(g,)``, int64.
    sums
        Shape ``(g, 1, d)``, float64.
    """

    groups: Tensor
    sums: Tensor


@final
class PartialMoments(NamedTuple):
    """Moments of the rows that some chunks have of some groups; attributes as of :class:`PartialSums`."""

    groups: Tensor
    moments: Moments


def chunk_sums(rows: Any, codes: NDArray[np.int64]) -> PartialSums:
    """Sums of the rows of one chunk.

    Parameters
    ----------
    rows
        A tensor or CSR array on the host, in any order.
    codes
        Group of each row; −1 for none.
    """
    groups, offsets, mine = _by_group(rows, codes)
    if not len(groups):
        return PartialSums(groups, torch.zeros(0, 1, rows.shape[1], dtype=torch.float64))
    return PartialSums(groups, (group_sums if isinstance(mine, Tensor) else csr_group_sums)(mine, offsets))


def merge_sums(parts: Sequence[PartialSums]) -> PartialSums:
    """Sums over all rows of the parts, added in the order given."""
    groups = torch.unique(torch.cat([part.groups for part in parts]))
    total = torch.zeros(len(groups), *parts[0].sums.shape[1:], dtype=torch.float64)
    for part in parts:
        total[torch.searchsorted(groups, part.groups)] += part.sums
    return PartialSums(groups, total)


def chunk_moments(rows: Any, codes: NDArray[np.int64]) -> PartialMoments:
    """Moments of the rows of one chunk. As :func:`chunk_sums`."""
    groups, offsets, mine = _by_group(rows, codes)
    if not len(groups):
        none = torch.zeros(0, 1, rows.shape[1], dtype=torch.float64)
        return PartialMoments(groups, Moments(none[:, :, :1], none, none))
    if isinstance(mine, Tensor):
        return PartialMoments(groups, group_moments([(0, mine)], offsets))
    return PartialMoments(groups, csr_group_moments(mine, offsets))


def merge_moments(parts: Sequence[PartialMoments]) -> PartialMoments:
    """Moments of all rows of the parts (Chan, Golub and LeVeque 1983), merged in the order given."""
    groups = torch.unique(torch.cat([part.groups for part in parts]))
    d = parts[0].moments.mean.shape[2]
    n = torch.zeros(len(groups), 1, 1, dtype=torch.float64)
    mean, squares = (torch.zeros(len(groups), 1, d, dtype=torch.float64) for _ in range(2))
    for part in parts:
        at, theirs = torch.searchsorted(groups, part.groups), part.moments
        total = n[at] + theirs.n
        gap = theirs.mean - mean[at]
        squares[at] += theirs.variance * theirs.n + gap.square() * (n[at] * theirs.n / total)
        mean[at] += gap * (theirs.n / total)
        n[at] = total
    return PartialMoments(groups, Moments(n, mean, squares.div_(n)))


def _by_group(rows: Any, codes: NDArray[np.int64]) -> tuple[Tensor, Tensor, Any]:
    """Groups that occur, where each begins, and rows sorted by group."""
    order = np.argsort(codes, kind="stable")[np.count_nonzero(codes < 0) :]
    groups, sizes = np.unique(codes[order], return_counts=True)
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
    mine = rows[torch.from_numpy(order)] if isinstance(rows, Tensor) else rows[order]
    return torch.from_numpy(groups), offsets, mine
