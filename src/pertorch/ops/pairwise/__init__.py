"""Pairwise reductions in block form: ``S[p, r] = Σ_i Σ_j w[i, r] κ(x_i, x_j) w[j, r]`` over pairs of groups.

The n × m matrix of κ never exists: a tile of it is made, reduced and forgotten. The README beside this file derives
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.ops.pairwise import _subsets, _torch
from pertorch.ops.pairwise._kernels import Kernel
from pertorch.ops.pairwise._reduction import operands
from pertorch.ops.pairwise._schedule import COPIES, block_cost, cut_tiles, tile_pairs

__all__ = [
    "COPIES",
    "Kernel",
    "block_cost",
    "block_sums",
    "cut_tiles",
    "operands",
    "row_sums",
    "tile_pairs",
    "weighted_sums",
    "within_sums",
]


def block_sums(
    points: Tensor,
    offsets: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    kernel: Kernel,
    weights: Tensor | None = None,
    tick: Callable[[int], object] | None = None,
) -> Tensor:
    """Sum κ over all ordered pairs of cells of each pair of groups.

    Parameters
    ----------
    points
        Shape ``(n, d)``, float32 or float64, sorted by group, on the device that computes.
    offsets
        Shape ``(k + 1,)``, int64 on the CPU: group ``g`` is ``points[offsets[g]:offsets[g + 1]]``.
    left, right
        Shape ``(p,)``, int64 on the CPU: the groups of each pair, ``left <= right``, no pair twice.
        ``left == right`` sums over all ordered pairs within the group, each cell with itself included: a distance
        of exactly 0.
    kernel
        κ.
    weights
        Shape ``(n, r)``: one column per replicate, small non-negative integers held as float32; ``None`` is one
        replicate in which each cell counts once.
    tick
        Called with the number of pairs of cells done, as they are done.

    Returns
    -------
    Shape ``(p, r)``, float64, on the device of `points`.
    The same bits on every run, with any number of threads, and for a pair
    whatever other pairs are asked for on the same device.
    """
    if (twin := _triton_for(points, kernel)) is not None:
        return twin.block_sums(points, offsets, left, right, kernel=kernel, weights=weights, tick=tick)
    return _torch.block_sums(points, offsets, left, right, kernel=kernel, weights=weights, tick=tick)


def within_sums(points: Tensor, subsets: Sequence[Tensor], *, kernel: Kernel) -> list[Tensor]:
    """Sum κ over all ordered pairs of cells within each of many subsets.

    Parameters
    ----------
    points, kernel
        As for :func:`block_sums`.
    subsets
        Rows of the subsets of one size, shape ``(s, n)``, int64, for each size: on the device of `points`.

    Returns
    -------
    For each size, shape ``(s,)``, float64: for a subset the same bits whatever other subsets are asked for.
    """
    if (twin := _triton_for(points, kernel)) is not None:
        return twin.within_sums(points, subsets, kernel=kernel)
    return _subsets.within_sums(points, subsets, kernel=kernel)


def weighted_sums(points: Tensor, sets: Sequence[Tensor], weights: Sequence[Tensor], *, kernel: Kernel) -> list[Tensor]:
    """Sum κ over all ordered pairs of cells within each of many sets, each cell with its weight.

    Parameters
    ----------
    points, kernel
        As for :func:`block_sums`.
    sets
        Rows of each set, shape ``(n,)``, int64, on the device of `points`.
    weights
        For each set, shape ``(n, r)``, as for :func:`block_sums`; as many replicates of one as of the other.

    Returns
    -------
    For each set, shape ``(r,)``, float64: the same bits whatever other sets are asked for.
    """
    return _torch.weighted_sums(points, sets, weights, kernel=kernel)


def _triton_for(points: Tensor, kernel: Kernel) -> Any:
    """The module of the Triton programs, where they compute this."""
    if not runs_triton(points):
        return None
    from pertorch.ops.pairwise import _triton

    return _triton if _triton.supports(points, kernel) else None


def row_sums(points: Tensor, offsets: Tensor, left: Tensor, right: Tensor, *, kernel: Kernel) -> list[Tensor]:
    """Sum κ of each cell of the left group over all cells of the right group.

    Parameters
    ----------
    points, offsets, left, right, kernel
        As for :func:`block_sums`, but left and right may come in any order.

    Returns
    -------
    For each pair of groups the sums of its left cells, float64, on the device of `points`.
    """
    return _torch.row_sums(points, offsets, left, right, kernel=kernel)
