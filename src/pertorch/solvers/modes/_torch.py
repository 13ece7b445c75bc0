"""Modes by batched Newton steps in torch; starts of a guide that meet go on as one."""

from __future__ import annotations

from torch import Tensor

from pertorch.solvers._newton import Minimum, minimize
from pertorch.solvers._poisson_gauss import PoissonGauss


def modes(model: PoissonGauss, guide: Tensor, start: Tensor, *, max_iter: int, tol: float) -> Minimum:
    """See :func:`pertorch.solvers.modes.modes`."""
    low, high = model.bounds(guide)
    return minimize(lambda at: model.at(guide[at]), start, low, high, max_iter=max_iter, tol=tol, kin=guide)
