"""Derivatives of a batch of losses, for models whose own would not repay the writing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pertorch.solvers._newton import Derivatives, Function


def derivatives(loss: Callable[[Tensor], Tensor]) -> Function:
    """From a loss ``(r, d) → (r,)``, in which no row sees another, to loss, gradient and Hessian."""

    def evaluate(x: Tensor) -> Derivatives:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            value = loss(x)
            (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            rows = [torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
        return value.detach(), gradient.detach(), torch.stack(rows, -1)

    return evaluate
