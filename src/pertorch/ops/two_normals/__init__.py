"""The likelihood of a mixture of two normals on a line, one of them known, brought to its maximum: many at once."""

from __future__ import annotations

from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.ops.two_normals import _torch
from pertorch.ops.two_normals._torch import log_odds, quadratic

__all__ = ["log_odds", "maximize", "quadratic"]


def maximize(
    points: Tensor,
    inside: Tensor,
    known: Tensor,
    start: Tensor,
    *,
    tol: float,
    max_iter: int,
    floor: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Damped Newton steps ``(−H + λ D)⁻¹ g`` until nothing moves.

    D is the information of the complete data, for which ``D⁻¹ g`` is EM's step (Lange 1995): λ = 1 begins like EM and
    λ → 0 ends with quadratic convergence. A step that lowers the likelihood is not taken, and λ grows.

    Parameters
    ----------
    points
        Shape ``(B, n)``, float64: the data of each mixture, padded.
    inside
        Shape ``(B, n)``, bool: which of them are data.
    known
        Shape ``(B, 2)``: mean and variance of the known component.
    start
        Shape ``(B, 3)``: logit of the weight, mean, and log(variance − floor) of the free one.
    tol, max_iter, floor
        See :func:`pertorch.solvers.gauss_mixture.fit_mixtures`.

    Returns
    -------
    Where each came to rest, as `start`; steps taken, int64; whether it did come to rest, bool.
    """
    if runs_triton(points):
        from pertorch.ops.two_normals import _triton

        return _triton.maximize(points, inside, known, start, tol=tol, max_iter=max_iter, floor=floor)
    return _torch.maximize(points, inside, known, start, tol=tol, max_iter=max_iter, floor=floor)
