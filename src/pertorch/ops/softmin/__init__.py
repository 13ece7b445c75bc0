"""Soft minima over pairs of points: ``−log Σ_j exp(v_j + s x_i·y_j)`` for a ragged batch of problems, again and again.

The row fold of the pairwise engine whose state is a running log-sum-exp: what a Sinkhorn iteration is made of.
"""

from __future__ import annotations

from importlib.util import find_spec

from torch import Tensor

from pertorch.ops.softmin import _torch
from pertorch.ops.softmin._problems import Engine, Side, Softmin

__all__ = ["Engine", "Side", "Softmin", "engine"]


def engine(points: Tensor, offsets: Tensor) -> Engine:
    """Make the engine for some clouds of points: called with problems, it gives their :class:`Softmin`.

    Parameters
    ----------
    points
        Shape ``(n, d)``, float32 or float64, on the device that computes; each cloud centred on its mean.
    offsets
        Shape ``(k + 1,)``, int64: cloud ``c`` is ``points[offsets[c]:offsets[c + 1]]``.
    """
    if points.is_cuda and find_spec("triton"):
        from pertorch.ops.softmin import _triton

        if _triton.supports(points):
            return _triton.Streamed(points, offsets)
    return _torch.Points(points)
