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
        Log odds of the second component to the first, shape ``(n, s, k)``: `s` problems about the same cells.
        Overwritten.
    weighted
        Cells with each value times powers of y: ``m yʲ``, shape ``(n, k, j)``.

    Returns
    -------
    ``Σ m r yʲ`` ``(n s, 3)``, ``Σ m r (1 − r) yʲ`` ``(n s, j)``, and ``Σ m log(1 + odds)`` ``(n s,)``.
    """
    n, s, k = odds.shape
    moments = odds.new_empty(n, 3, s, k)
    r, q, evidence = moments.unbind(1)
    torch.sigmoid(odds, out=r)
    torch.addcmul(r, r, r, value=-1, out=q)
    torch.clamp(odds, min=0, out=evidence)
    evidence += odds.abs_().neg_().exp_().log1p_()
    sums = (moments.view(n, 3 * s, k) @ weighted).view(n, 3, s, -1).transpose(0, 1).reshape(3, n * s, -1)
    return sums[0, :, :3], sums[1], sums[2, :, 0]
