"""Soft minima over pairs of points, ``−log Σ_j b_j exp(β_j + s x_i·y_j)``: what a Sinkhorn iteration is made of.

A row fold over pairs whose state is a running log-sum-exp, for a ragged batch of problems, again and again.
"""

from __future__ import annotations

from pertorch.exec import runs_triton
from pertorch.ops.softmin import _padded
from pertorch.ops.softmin._problems import Engine, Errors, Points, Potentials

__all__ = ["Engine", "Errors", "Points", "Potentials", "engine"]


def engine(points: Points) -> Engine:
    """Make the engine for some clouds of points, on their device: called with problems, it gives their `Potentials`."""
    if runs_triton(points.coordinates):
        from pertorch.ops.softmin import _triton

        if _triton.supports(points.coordinates):
            return _triton.Streamed(points)
    return _padded.Padded(points)
