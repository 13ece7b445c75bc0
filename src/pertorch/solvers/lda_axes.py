"""Principal axes of each target's cells together with the controls, which all targets share."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.solvers._block_lanczos import MOST_AXES, WIDTH, krylov

# Up to so many genes a covariance matrix is made and diagonalised; beyond, only its products with vectors.
DENSE_GENES = 1024


@final
class Shared(NamedTuple):
    """The controls, which every group has: cells × genes, float64; their mean, and squared deviations from it."""

    cells: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, cells: Tensor) -> Shared:
        """With their moments."""
        return cls(cells, cells.mean(0), cells.var(0, correction=0) * len(cells))


@final
class Group(NamedTuple):
    """One target's cells beside the controls, at all genes.

    Attributes
    ----------
    cells
        Shape ``(n, p)``, float64.
    centre, spread
        Shape ``(p,)``: mean and standard deviation (ddof 1; 0 is taken as 1) over these cells and the controls.
    """

    cells: Tensor
    centre: Tensor
    spread: Tensor

    @classmethod
    def beside(cls, controls: Shared, cells: Tensor) -> Group:
        """With the moments of both."""
        n, m, mean = len(cells), len(controls.cells), cells.mean(0)
        scatter = controls.scatter + cells.var(0, correction=0) * n + n * m / (n + m) * (mean - controls.mean).square()
        spread = (scatter / (n + m - 1)).sqrt()
        return cls(cells, (n * mean + m * controls.mean) / (n + m), torch.where(spread > 0, spread, 1.0))


def principal_axes(controls: Shared, groups: list[Group], n_axes: int) -> list[Tensor]:
    """Leading principal axes of the scaled cells of each group and the controls.

    Parameters
    ----------
    controls
        The controls.
    groups
        The targets.
    n_axes
        How many; reduced to ``min(cells, p) − 1``, and left out where that is less than one.

    Returns
    -------
    For each group shape ``(p, ≤ n_axes)``, orthonormal, by falling variance.
    """
    shared = controls.cells
    if shared.shape[1] <= DENSE_GENES or len(shared) + min(len(g.cells) for g in groups) <= 4 * n_axes:
        return [_dense(shared, group, n_axes) for group in groups]
    return krylov(shared, groups, n_axes)


def bytes_of_group(n_controls: int, n_cells: int, n_genes: int) -> int:
    """About what :func:`principal_axes` holds of one group beside the controls."""
    return 4 * (MOST_AXES + WIDTH) * (n_controls + n_cells) + 20 * n_cells * n_genes


def _dense(controls: Tensor, group: Group, n_axes: int) -> Tensor:
    scaled = (torch.cat([controls, group.cells]) - group.centre) / group.spread
    keep = max(0, min(n_axes, min(scaled.shape) - 1))
    if scaled.shape[0] < scaled.shape[1]:
        _, _, axes = torch.linalg.svd(scaled, full_matrices=False)
        return axes[:keep].T
    return torch.linalg.eigh(scaled.T @ scaled).eigenvectors.flip(1)[:, :keep]
