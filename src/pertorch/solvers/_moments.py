"""Sums over cells of the posterior of a two-component mixture."""

from __future__ import annotations

import torch
from torch import Tensor


def posterior_moments(odds: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of r and of r(1 − r), r the posterior of the second component, and the log evidence.

    Where both components' log densities are polynomials in y beside a common term, the log posterior, its gradient
    and its Hessian need nothing else of the cells.

    Parameters
    ----------
    odds
        Log odds of the second component to the first, shape ``(p, k)``.
    weighted
        Cells with each value times powers of y: ``m yʲ``, shape ``(p, k, j)``.

    Returns
    -------
    ``Σ m r yʲ`` ``(p, 3)``, ``Σ m r (1 − r) yʲ`` ``(p, j)``, and ``Σ m log(1 + odds)`` ``(p,)``.
    """
    rest = torch.exp(-odds.abs())
    second = torch.where(odds > 0, 1.0, rest) / (1 + rest)
    evidence = torch.log1p(rest) + odds.clamp(min=0)
    moments = torch.stack([second, second * (1 - second), evidence], 1) @ weighted
    return moments[:, 0, :3], moments[:, 1], moments[:, 2, 0]
