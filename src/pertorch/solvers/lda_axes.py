"""Principal axes of each target's cells together with the controls, which all targets share."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

# Up to so many genes a covariance matrix is made and diagonalised; beyond, only its products with vectors.
DENSE_GENES = 1024
MOST_AXES = 600  # of the Krylov space
RESIDUAL = 1e-7


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
    def beside(cls, controls: Tensor, cells: Tensor) -> Group:
        """With the moments of both."""
        n, m = len(cells), len(controls)
        theirs, ours = controls.mean(0), cells.mean(0)
        scatter = (
            (m - 1) * controls.var(0) + (cells - ours).square().sum(0) + n * m / (n + m) * (ours - theirs).square()
        )
        spread = (scatter / (n + m - 1)).sqrt()
        return cls(cells, (n * ours + m * theirs) / (n + m), torch.where(spread > 0, spread, 1.0))


def principal_axes(controls: Tensor, groups: list[Group], n_axes: int) -> list[Tensor]:
    """Leading principal axes of the scaled cells of each group and the controls.

    Parameters
    ----------
    controls
        Shape ``(m, p)``, float64.
    groups
        The targets.
    n_axes
        How many; reduced to ``min(cells, p) − 1``, and left out where that is less than one.

    Returns
    -------
    For each group shape ``(p, ≤ n_axes)``, orthonormal, by falling variance.
    """
    if controls.shape[1] <= DENSE_GENES or len(controls) + min(len(g.cells) for g in groups) <= 4 * n_axes:
        return [_dense(controls, group, n_axes) for group in groups]
    return _krylov(controls, groups, n_axes)


def _dense(controls: Tensor, group: Group, n_axes: int) -> Tensor:
    scaled = (torch.cat([controls, group.cells]) - group.centre) / group.spread
    keep = max(0, min(n_axes, min(scaled.shape) - 1))
    if scaled.shape[0] < scaled.shape[1]:
        _, _, axes = torch.linalg.svd(scaled, full_matrices=False)
        return axes[:keep].T
    return torch.linalg.eigh(scaled.T @ scaled).eigenvectors.flip(1)[:, :keep]


def _krylov(controls: Tensor, groups: list[Group], n_axes: int) -> list[Tensor]:
    """Block Lanczos with full orthogonalisation, all groups at once: each step is one product with the controls.

    The steps are repeated until the leading axes move by less than `RESIDUAL` (residual over eigenvalue).
    """
    gram = _Gram(controls, groups)
    block = _start(gram, n_axes + 2)
    width = block.shape[2]
    basis = block.new_zeros(len(groups), controls.shape[1], MOST_AXES + width)
    small = block.new_zeros(len(groups), MOST_AXES + width, MOST_AXES + width)
    size = 0
    while True:
        here = slice(size, size + width)
        basis[:, :, here] = block
        size += width
        known = basis[:, :, :size]
        image = gram(block)
        overlap = known.mT @ image
        small[:, :size, here] = overlap
        small[:, here, :size] = overlap.mT
        image -= known @ overlap
        image -= known @ (known.mT @ image)
        block, rest = torch.linalg.qr(image)
        values, vectors = torch.linalg.eigh(small[:, :size, :size])
        values, vectors = values[:, -n_axes:], vectors[:, :, -n_axes:]
        residual = (rest @ vectors[:, -width:]).norm(dim=1) / values
        if float(residual.max()) < RESIDUAL or size >= min(MOST_AXES, controls.shape[1] - width):
            return list((known @ vectors).flip(2))


def _start(gram: _Gram, width: int) -> Tensor:
    """Random directions, the first of them replaced by that from the controls to the group."""
    generator = torch.Generator().manual_seed(0)
    n_groups, p = len(gram.spread), gram.spread.shape[1]
    block = torch.randn(p, width, generator=generator, dtype=torch.float64).to(gram.spread.device)
    block = block.expand(n_groups, -1, -1).clone()
    block[:, :, 0] = gram.difference
    return torch.linalg.qr(block).Q


@final
class _Gram:
    """``V → Zᵀ Z V`` for the scaled cells Z of each group, without Z."""

    def __init__(self, controls: Tensor, groups: list[Group]) -> None:
        self._controls, self._cells = controls, [group.cells for group in groups]
        self._centre, self.spread = (torch.stack(part) for part in zip(*(g[1:] for g in groups), strict=True))
        means = torch.stack([group.cells.mean(0) for group in groups])
        self.difference = (means - controls.mean(0)) / self.spread

    def __call__(self, block: Tensor) -> Tensor:
        n_groups, p, width = block.shape
        weights = block / self.spread[:, :, None]
        shift = (self._centre[:, None] @ weights)[:, 0]
        wide = weights.transpose(0, 1).reshape(p, n_groups * width)
        seen = self._controls @ wide - shift.reshape(1, -1)
        out = (self._controls.T @ seen).view(p, n_groups, width).transpose(0, 1).contiguous()
        total = seen.sum(0).view(n_groups, width)
        for g, cells in enumerate(self._cells):
            of_cells = cells @ weights[g] - shift[g]
            out[g].addmm_(cells.T, of_cells)
            total[g] += of_cells.sum(0)
        out -= self._centre[:, :, None] * total[:, None]
        return out.div_(self.spread[:, :, None])
