"""Principal axes from products with the data alone: block Lanczos for many groups at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pertorch.exec import map_threads

if TYPE_CHECKING:
    from pertorch.solvers.lda_axes import Group

MOST_AXES = 600  # of the Krylov space
WIDTH = 4  # vectors of a block
CHECK = 40  # axes between looks at the residuals
KEPT = 3  # times the axes asked for
RESIDUAL = 1e-5  # of the variance along an axis


def krylov(controls: Tensor, groups: list[Group], n_axes: int) -> list[Tensor]:
    """Block Lanczos with full orthogonalisation on ``Z Zᵀ``, cells × cells, for all groups at once.

    Golub and Underwood (1977). In float32, where products are twice as fast; then the leading axes and twice as many
    behind them are separated once more in float64 (Rayleigh and Ritz), which takes one product. Narrow blocks, because
    a Krylov space of one vector resolves close variances with the fewest products; more than one vector, because each
    step reads all cells twice. The steps end when the residuals of the leading axes are below `RESIDUAL` of their
    variances.
    """
    exact = _Scaled(controls, groups)
    scaled = exact.single()
    block = _start(scaled)
    n_groups, _, n_cells = block.shape
    n_kept = KEPT * n_axes
    basis = block.new_zeros(n_groups, MOST_AXES + WIDTH, n_cells)
    small = block.new_zeros(n_groups, MOST_AXES + WIDTH, MOST_AXES + WIDTH)
    size = 0
    while True:
        here = slice(size, size + WIDTH)
        basis[:, here] = block
        size += WIDTH
        known = basis[:, :size]
        image = scaled.up(scaled.down(block))
        overlap = image @ known.mT
        small[:, here, :size] = overlap
        small[:, :size, here] = overlap.mT
        image -= overlap @ known
        image -= (image @ known.mT) @ known
        block, rest = _orthonormal(image)
        last = size >= min(MOST_AXES, n_cells - WIDTH)
        if size < n_kept or (size % CHECK and not last):
            continue
        values, vectors = _leading(small[:, :size, :size].double(), n_kept)
        vectors = vectors.to(known.dtype)
        residual = (vectors[:, -n_axes:, -WIDTH:] @ rest.mT).norm(dim=2) / values[:, -n_axes:]
        if last or float(residual.max()) < RESIDUAL:
            return _separate(exact, vectors @ known, n_axes)


def _leading(matrices: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n largest eigenvalues of each symmetric matrix, ascending, and their vectors as rows.

    By the host's threads: for a few hundred rows a GPU's solver takes longer than all of the products.
    """
    host = matrices.cpu()
    found = [torch.linalg.eigh(host)] if matrices.is_cpu else map_threads(torch.linalg.eigh, host.split(1), host.device)
    values, vectors = zip(*found, strict=True)
    return (
        torch.cat(values)[:, -n:].to(matrices.device),
        torch.cat(vectors)[:, :, -n:].mT.contiguous().to(matrices.device),
    )


def _separate(scaled: _Scaled, rows: Tensor, n_axes: int) -> list[Tensor]:
    """Leading principal axes within the span of these combinations of cells."""
    images = scaled.down(_orthonormal(rows.double())[0])
    values, vectors = torch.linalg.eigh(images @ images.mT)
    axes = (vectors[:, :, -n_axes:].mT @ images) / values[:, -n_axes:].sqrt()[:, :, None]
    return list(axes.flip(1).mT)


def _orthonormal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal rows Q and lower R with ``rows = R Q``, by Cholesky twice: a block is a few long rows."""
    first = torch.linalg.cholesky(rows @ rows.mT)
    once = torch.linalg.solve_triangular(first, rows, upper=False)
    second = torch.linalg.cholesky(once @ once.mT)
    return torch.linalg.solve_triangular(second, once, upper=False), first @ second


def _start(scaled: _Scaled) -> Tensor:
    """Random directions, the first of them replaced by the one that tells the group from the controls."""
    n_cells = scaled.inside.shape[1]
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(WIDTH, n_cells, generator=generator).to(scaled.controls)
    block = block * scaled.inside[:, None]
    n_controls = len(scaled.controls)
    block[:, 0, :n_controls] = 0
    block[:, 0, n_controls:] = scaled.inside[:, n_controls:].to(block.dtype)
    return _orthonormal(block)[0]


@final
class _Scaled:
    """The scaled cells Z of each group, controls first, as products: Z itself is never made. Vectors are rows."""

    def __init__(self, controls: Tensor, groups: list[Group]) -> None:
        self.controls, self._groups = controls, groups
        sizes = torch.tensor([len(group.cells) for group in groups], device=controls.device)
        self._cells = torch.nn.utils.rnn.pad_sequence([group.cells for group in groups], batch_first=True)
        theirs = torch.ones(len(groups), len(controls), dtype=torch.bool, device=controls.device)
        ours = torch.arange(self._cells.shape[1], device=controls.device) < sizes[:, None]
        self.inside = torch.cat([theirs, ours], 1)
        self._centre, spread = (torch.stack(part)[:, None] for part in zip(*(g[1:] for g in groups), strict=True))
        self._per_spread = 1 / spread

    def single(self) -> _Scaled:
        """In float32."""
        return _Scaled(
            self.controls.float(), [type(group)(*(part.float() for part in group)) for group in self._groups]
        )

    def down(self, block: Tensor) -> Tensor:
        """``Zᵀ Y``: cells to genes, ``(B, w, N)`` to ``(B, w, p)``."""
        m, (n_groups, width, _) = len(self.controls), block.shape
        out = (block[:, :, :m].reshape(n_groups * width, m) @ self.controls).view(n_groups, width, -1)
        out.baddbmm_(block[:, :, m:], self._cells)
        return out.sub_(self._centre * block.sum(2, keepdim=True)).mul_(self._per_spread)

    def up(self, block: Tensor) -> Tensor:
        """``Z V``: genes to cells, ``(B, w, p)`` to ``(B, w, N)``; padding stays zero."""
        weights = block * self._per_spread
        n_groups, width, p = weights.shape
        theirs = (weights.view(n_groups * width, p) @ self.controls.T).view(n_groups, width, -1)
        out = torch.cat([theirs, weights @ self._cells.mT], 2)
        return out.sub_((self._centre * weights).sum(2, keepdim=True)).mul_(self.inside[:, None])
