"""Modes by one Triton program a start. Twin of ``_torch.modes``; starts that meet both arrive."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.solvers import _newton
from pertorch.solvers._newton import Minimum
from pertorch.solvers._poisson_gauss import PoissonGauss
from pertorch.solvers.modes import _programs

_BLOCK = 64  # most counts read at once


def modes(model: PoissonGauss, guide: Tensor, start: Tensor, *, max_iter: int, tol: float) -> Minimum:
    """See :func:`pertorch.solvers.modes.modes`."""
    low, high = model.bounds(guide)
    width = model.y.shape[1]
    x = start.contiguous().clone()
    loss = torch.empty(len(x), dtype=torch.float64, device=x.device)
    converged = torch.empty(len(x), dtype=torch.int32, device=x.device)
    with current_device(x.device):
        _programs.modes_kernel[(len(x),)](
            model.y, model.log_factorial, model.times, (model.times > 0).sum(1).int(), torch.stack(model.sums, -1),
            guide, x, low, high, loss, converged, width, max_iter, tol,
            BLOCK=min(_BLOCK, max(32, 1 << (width - 1).bit_length())), SLACK=_newton.SLACK, DAMPED=_newton.DAMPED,
            CALMER=_newton.CALMER, WILDER=_newton.WILDER, LEAST=_newton.LEAST, MOST=_newton.MOST,
            MEMORY=_newton.MEMORY, RAISES=_newton.RAISES, REACH=_newton.REACH, num_warps=1,
        )  # fmt: skip
    return Minimum(x, loss, converged == 1)
