"""The maximum in Triton. Twin of ``_torch.maximize``."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.two_normals import _programs
from pertorch.ops.two_normals._torch import LARGEST_DAMPING, NO_GAIN, SMALL_DAMPING

BLOCK = 512


def maximize(
    points: Tensor, inside: Tensor, known: Tensor, start: Tensor, *, tol: float, max_iter: int, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`pertorch.ops.two_normals.maximize`."""
    state = start.clone()
    n_iter = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    converged = torch.zeros(len(start), dtype=torch.int8, device=start.device)
    if not len(start):
        return state, n_iter, converged.bool()
    with current_device(start.device):
        _programs.newton_kernel[(len(start),)](
            points.contiguous(),
            inside.to(torch.int8),
            known.contiguous(),
            state,
            n_iter,
            converged,
            limits(tol, floor, start.device),
            points.shape[1],
            max_iter,
            BLOCK=BLOCK,
            num_warps=8,
        )
    return state, n_iter, converged.bool()


def limits(tol: float, floor: float, device: torch.device) -> Tensor:
    """What tells a program when to stop, as a tensor: a number that is an argument would be float32."""
    return torch.tensor([tol, floor, SMALL_DAMPING, LARGEST_DAMPING, NO_GAIN], dtype=torch.float64).to(device)
