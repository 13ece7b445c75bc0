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
        Log odds of the second component to the first, shape ``(p, k)``; overwritten.
    weighted
        Cells with each value times powers of y: ``m yʲ``, shape ``(p, k, j)``.

    Returns
    -------
    ``Σ m r yʲ`` ``(p, 3)``, ``Σ m r (1 − r) yʲ`` ``(p, j)``, and ``Σ m log(1 + odds)`` ``(p,)``.
    """
    p, k = odds.shape
    moments = odds.new_empty(p, 3, k)
    r, q, evidence = moments.unbind(1)
    torch.sigmoid(odds, out=r)
    torch.addcmul(r, r, r, value=-1, out=q)
    torch.add(odds.clamp(min=0), odds.abs_().neg_().exp_().log1p_(), out=evidence)
    sums = moments @ weighted
    return sums[:, 0, :3], sums[:, 1], sums[:, 2, 0]
