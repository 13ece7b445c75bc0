"""Modes of the Poisson-Gauss mixture of many guides, each from several starts."""

from __future__ import annotations

from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.solvers._newton import Minimum
from pertorch.solvers._poisson_gauss import PoissonGauss
from pertorch.solvers.modes import _torch

__all__ = ["modes"]


def modes(model: PoissonGauss, guide: Tensor, start: Tensor, *, max_iter: int, tol: float) -> Minimum:
    """Local minima of the negative log posterior, inside the model's bounds.

    Parameters
    ----------
    model
        The guides' posteriors.
    guide
        Guide of each start, ascending, shape ``(p,)``, int64.
    start
        Points, shape ``(p, 4)``.
    max_iter, tol
        See :func:`pertorch.solvers._newton.minimize`.

    Returns
    -------
    A minimum for each start; of starts of one guide that met, all but one may have an infinite loss.
    """
    if runs_triton(start):
        from pertorch.solvers.modes import _triton

        return _triton.modes(model, guide, start, max_iter=max_iter, tol=tol)
    return _torch.modes(model, guide, start, max_iter=max_iter, tol=tol)
