"""Mahalanobis' distance of the means."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pertorch.exec import map_threads, track
from pertorch.metrics._base import CHUNK_BYTES, Distances, Metric, Needs
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
    ) -> Distances:
        """Means and variances in one pass; then, group by group, the cells of X once more."""
        pairs, moments = pairs.cpu(), group_moments(cells, devices[0], weights)
        groups, of, met = torch.unique(pairs.left, return_inverse=True, return_counts=True)
        order = of.argsort(stable=True)
        others = pairs.right[order].split(met.tolist())
        if cells.is_near:
            found = _distances(moments.mean, cells, devices, None, moments, groups.tolist(), others, weights)
        else:
            shares = cells.group_shares(groups.tolist())
            arguments, rest = [], iter(others)
            for share in shares:
                mine = Moments(*(moment[share.groups].cpu() for moment in moments))
                part = weights and weights.part(share.groups)
                theirs = list(itertools.islice(rest, len(share.groups)))
                arguments.append((mine, range(len(share.groups)), theirs, part))
            work = partial(_distances, moments.mean.cpu())
            found = torch.cat(cells.map(shares, work, arguments, devices[:1]))
        if tick:
            tick(1)
        return Distances(torch.empty_like(found).index_copy_(0, order.to(found.device), found))


def _distances(
    means: Tensor,
    cells: Cells,
    devices: Sequence[torch.device],
    _: object,
    moments: Moments,
    groups: Sequence[int],
    others: Sequence[Tensor],
    weights: Columns | None,
) -> Tensor:
    """Distances of some groups of these cells from their others, end to end: shape ``(pairs, r)``.

    `moments` are those of the cells' groups, and `means` those of all groups, of which `others` speaks.
    """
    device, met = devices[0], torch.tensor([len(y) for y in others])
    means, moments = means.to(device), Moments(*(moment.to(device) for moment in moments))
    n_replicates, n_features = means.shape[1:]
    # Factors and differences of one group; the smaller the runs, the more threads share them.
    cost, most = 8 * n_replicates * n_features * (n_features + met), CHUNK_BYTES[device.type]
    runs = batches(cost, most if int(cost.sum()) > ALONE * most else int(cost.sum()))
    parts = map_threads(
        lambda run: _run(groups[run], [means[y] for y in others[run]], cells, moments, weights), runs, device
    )
    return torch.cat(list(track(parts, int(met.sum()), "covariances", unit="pairs", size=len)))


def _run(
    groups: Sequence[int], others: Sequence[Tensor], cells: Cells, moments: Moments, weights: Columns | None
) -> Tensor:
    scale = moments.variance[list(groups)].sqrt_()
    factor = _factors(groups, scale, cells, moments, weights)
    gaps = pad_sequence([mean - moments.mean[x] for x, mean in zip(groups, others, strict=True)], True)
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
