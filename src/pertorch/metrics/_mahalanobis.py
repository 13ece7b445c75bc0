"""Mahalanobis' distance of the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor

from pertorch.metrics._base import Metric, Needs
from pertorch.metrics._moments import fit_batch, group_moments
from pertorch.ops.segment import Moments

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs


@final
@dataclass(frozen=True)
class Mahalanobis(Metric):
    """√((x̄ − ȳ)ᵀ S⁻¹ (x̄ − ȳ)) with S the covariance (ddof 1) of X alone (Mahalanobis 1936): not symmetric.

    Raises
    ------
    ValueError
        If X has no more cells than features, or its covariance is singular.
    """

    name: ClassVar[str] = "mahalanobis"
    symmetric: ClassVar[bool] = False
    needs: ClassVar[Needs] = Needs(full_rank=True)

    def batch(self, cells: Cells) -> int:
        """See :class:`Metric`."""
        return fit_batch(cells)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Tensor | None,
        tick: Callable[[int], object] | None,
    ) -> Tensor:
        pairs, moments = pairs.cpu(), group_moments(cells, devices[0], weights)
        out = torch.empty(len(pairs), moments.mean.shape[1], dtype=torch.float64)
        for g in torch.unique(pairs.left).tolist():
            mine = torch.nonzero(pairs.left == g)[:, 0]
            deviations = cells.group(g, devices[0]).double()
            own = None if weights is None else weights[slice(*cells.offsets[g : g + 2].tolist())]
            for r in range(out.shape[1]):
                factor, scale = _factor(deviations, moments, g, r, own, cells)
                gap = (moments.mean[pairs.right[mine], r] - moments.mean[g, r]) / scale
                solved = torch.linalg.solve_triangular(factor, gap.T, upper=False)
                out[mine, r] = torch.linalg.vector_norm(solved, dim=0).cpu()
        if tick:
            tick(1)
        return out.to(devices[0])


def _factor(
    rows: Tensor, moments: Moments, g: int, r: int, weights: Tensor | None, cells: Cells
) -> tuple[Tensor, Tensor]:
    """Cholesky factor of the correlation matrix of a group, and standard deviations."""
    n, scale = moments.n[g, r], moments.variance[g, r].sqrt()
    scaled = (rows - moments.mean[g, r]) / scale
    times = scaled if weights is None else scaled * weights[:, r, None].double()
    if bool((scale > 0).all()):
        factor, failed = torch.linalg.cholesky_ex(scaled.T @ times / n)
        # A squared pivot is the share of a feature's variance that those before it leave: none, where it is no more
        # than the rounding of the product, or of the values as they are stored.
        stored = torch.finfo(cells.matrix.dtype).eps * float((rows.abs().amax(0) / scale).max())
        rounding = len(scale) * (16 * torch.finfo(torch.float64).eps + stored**2)
        if not int(failed) and float(factor.diagonal().square().min()) > rounding:
            return factor, scale * (n / (n - 1)).sqrt()
    where = "" if weights is None else " in a bootstrap replicate"
    raise ValueError(
        f"mahalanobis: the covariance of group {cells.groups.names[g]!r} ({int(n)} cells, {cells.n_features} features) "
        f"is singular{where}: a feature is constant or a combination of others. Use fewer features, such as principal "
        "components."
    )
