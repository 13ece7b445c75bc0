"""Positive definite systems of a few unknowns, many at once."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_batched(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Solve positive definite systems of a few unknowns, and whether each is positive definite, in few launches."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    solved = failed == 0
    factor = torch.where(solved[:, None, None], factor, torch.eye(matrix.shape[-1]).to(matrix))
    return torch.cholesky_solve(right[:, :, None], factor)[:, :, 0], solved


def solve_unrolled(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """As `solve_batched`, for a CPU, where a LAPACK call for each system costs more than the system.

    LDLᵀ written out over the unknowns: the batch is the inner loop.
    """
    d = matrix.shape[-1]
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().clamp(min=torch.finfo(matrix.dtype).tiny)
    low: list[list[Tensor]] = [[] for _ in range(d)]
    pivot: list[Tensor] = []
    y: list[Tensor] = []
    for j in range(d):
        scaled = [low[j][k] * pivot[k] for k in range(j)]
        pivot.append(_less(matrix[:, j, j], scaled, low[j]))
        y.append(_less(right[:, j], y, low[j]))
        for i in range(j + 1, d):
            low[i].append(_less(matrix[:, i, j], scaled, low[i]) / pivot[j])
    x: list[Tensor] = []
    for j in reversed(range(d)):
        x.insert(0, _less(y[j] / pivot[j], x, [low[i][j] for i in range(j + 1, d)]))
    return torch.stack(x, -1), (torch.stack(pivot, -1) > 1e-12 * scale).all(-1)


def _less(value: Tensor, left: list[Tensor], right: list[Tensor]) -> Tensor:
    for a, b in zip(left, right, strict=False):
        value = value - a * b
    return value
