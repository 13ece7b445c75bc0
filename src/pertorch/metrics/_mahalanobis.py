"""Mahalanobis' distance of the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pertorch.exec import map_threads, track
from pertorch.metrics._base import CHUNK_BYTES, Metric, Needs
from pertorch.metrics._moments import fit_batch, group_moments
from pertorch.ops.segment import Moments, batches

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns


ALONE = 4  # chunks that one thread does sooner than several are called


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
    in_memory: ClassVar[bool] = True  # its cells are read a second time, group by group

    def batch(self, cells: Cells) -> int:
        """See :class:`Metric`."""
        return fit_batch(cells)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Tensor:
        pairs, moments = pairs.cpu(), group_moments(cells, devices[0], weights)
        groups, of, met = torch.unique(pairs.left, return_inverse=True, return_counts=True)
        order = of.argsort(stable=True)
        others = pairs.right[order].split(met.tolist())
        n_replicates, n_features = moments.mean.shape[1:]
        # Factors and differences of one group; the smaller the runs, the more threads share them.
        cost = 8 * n_replicates * n_features * (n_features + met)

        def distances(run: slice) -> Tensor:
            return _distances(groups[run].tolist(), others[run], cells, moments, weights)

        most = CHUNK_BYTES[devices[0].type]
        runs = batches(cost, most if int(cost.sum()) > ALONE * most else int(cost.sum()))
        parts = map_threads(distances, runs, devices[0])
        found = torch.cat(list(track(parts, len(pairs), "covariances", unit="pairs", size=len)))
        if tick:
            tick(1)
        return torch.empty_like(found).index_copy_(0, order.to(found.device), found)


def _distances(
    groups: Sequence[int], others: Sequence[Tensor], cells: Cells, moments: Moments, weights: Columns | None
) -> Tensor:
    """Distances of each group from its others, end to end: shape ``(pairs, r)``."""
    scale = moments.variance[list(groups)].sqrt_()
    factor = _factors(groups, scale, cells, moments, weights)
    gaps = pad_sequence([moments.mean[y] - moments.mean[x] for x, y in zip(groups, others, strict=True)], True)
    unbiased = scale * (moments.n[list(groups)] / (moments.n[list(groups)] - 1)).sqrt_()
    scaled = (gaps / unbiased[:, None]).permute(0, 2, 3, 1)  # groups, replicates, features, others
    values = torch.linalg.vector_norm(torch.linalg.solve_triangular(factor, scaled, upper=False), dim=2)
    return torch.cat([value[:, : len(y)].T for value, y in zip(values, others, strict=True)])


def _factors(groups: Sequence[int], scale: Tensor, cells: Cells, moments: Moments, weights: Columns | None) -> Tensor:
    """Cholesky factors of the correlation matrices of groups: shape ``(groups, r, p, p)``."""
    squares = []
    for g in groups:
        mean, first = moments.mean[g], int(cells.offsets[g])
        times = None if weights is None else weights.of(slice(g, g + 1), mean.device).double()
        squares.append(mean.new_zeros(len(mean), mean.shape[1], mean.shape[1]))
        for start, rows in cells.slabs(mean.device, slice(g, g + 1)):
            for r in range(len(mean)):
                away = rows.double() - mean[r]
                weighted = away if times is None else away * times[start - first : start - first + len(rows), r, None]
                squares[-1][r] += away.T @ weighted
    n = moments.n[list(groups)]
    unit = torch.where(scale > 0, scale, 1)  # of a constant feature, squares are 0 and so is the pivot
    factors, failed = torch.linalg.cholesky_ex(torch.stack(squares) / n[..., None] / unit[..., None] / unit[:, :, None])
    # A squared pivot is the share of a feature's variance that those before it leave: none, where it is no more than
    # the rounding of the product, or of the values as they are stored.
    stored = torch.finfo(cells.matrix.dtype).eps ** 2 * (1 + (moments.mean[list(groups)] / unit).square().amax(-1))
    rounding = 16 * scale.shape[-1] * (torch.finfo(torch.float64).eps + stored)
    pivots = factors.diagonal(dim1=-2, dim2=-1).square().amin(-1)
    singular = torch.nonzero((failed != 0) | ~(pivots > rounding))
    if len(singular):
        at, r = singular[0].tolist()
        where = "" if weights is None else " in a replicate"
        raise ValueError(
            f"mahalanobis: the covariance of group {cells.groups.names[groups[at]]!r} ({int(n[at, r])} cells, "
            f"{cells.n_features} features) is singular{where}: a feature is constant or a combination of others. Use "
            "fewer features, such as principal components."
        )
    return factors
