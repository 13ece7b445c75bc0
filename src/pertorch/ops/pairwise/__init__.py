"""Pairwise reductions in block form: ``S[p, r] = Σ_i Σ_j w[i, r] κ(x_i, x_j) w[j, r]`` over pairs of groups.

The n × m matrix of κ never exists: a tile of it is made, reduced and forgotten. The README beside this file derives
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from torch import Tensor

from pertorch.ops.pairwise import _subsets, _torch
from pertorch.ops.pairwise._kernels import Kernel
from pertorch.ops.pairwise._schedule import block_cost

__all__ = ["Kernel", "block_cost", "block_sums", "row_sums"]


def block_sums(
    points: Tensor,
    offsets: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    kernel: Kernel,
    weights: Tensor | None = None,
    index: Tensor | None = None,
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
    index
        Shape ``(n',)``, int64: where given, the groups are runs of ``points[index]``, which is never made whole. Only
        without `weights`.
    tick
        Called with the number of pairs of cells done, as they are done.

    Returns
    -------
    Shape ``(p, r)``, float64, on the device of `points`.
    The same bits on every run, with any number of threads, and for a pair
    whatever other pairs are asked for on the same device.
    """
    if points.is_cuda and find_spec("triton"):
        from pertorch.ops.pairwise import _triton

        if _triton.supports(points, kernel):
            return _triton.block_sums(
                points, offsets, left, right, kernel=kernel, weights=weights, index=index, tick=tick
            )
    if index is not None:
        if weights is None and _subsets.supports(index, offsets, left, right):
            return _subsets.within_sums(points, index.view(len(left), -1), kernel=kernel, tick=tick)[:, None]
        points = points[index]
    return _torch.block_sums(points, offsets, left, right, kernel=kernel, weights=weights, tick=tick)


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
