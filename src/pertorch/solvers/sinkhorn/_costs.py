"""Mean and standard deviation of the cost between two clouds, without a number per pair of points."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.solvers.sinkhorn._clouds import Clouds

CHUNK = {"cpu": 2**16, "cuda": 2**24}  # float64 numbers of one operand of the algebra per pair
SHARE = 0.05  # of the standard deviation, as OTT's default
EQUAL = 1e-10  # std / mean below which all costs are equal: a transport can gain no more than that


@final
class Costs(NamedTuple):
    """The cost ``|x − y|²`` between two clouds: mean and standard deviation over all pairs of points, ``(p,)`` each."""

    mean: Tensor
    std: Tensor

    def epsilon(self, given: float | None = None) -> Tensor:
        """ε of each pair: as given, or 0.05 of the standard deviation; 0 where all costs are equal."""
        epsilon = SHARE * self.std if given is None else torch.full_like(self.std, given)
        return epsilon.masked_fill_(self.std <= EQUAL * self.mean, 0)


def costs(clouds: Clouds, left: Tensor, right: Tensor) -> Costs:
    """Moments of the cost of each pair of clouds, float64.

    With ``p = |x'|² + 2Δ·x'`` and ``q = |y'|² − 2Δ·y'``, ``C = |Δ|² + p + q − 2 x'·y'`` has the variance
    ``Var p + Var q + 4 tr(Σx Σy)``: all other covariances are products with a mean of x' or y', which is 0.
    """
    d = clouds.points.shape[1]
    step = max(1, CHUNK[left.device.type] // (d if clouds.covariance is None else d * d))
    parts = [
        _chunk(clouds, l, r)
        for l, r in zip(left.split(step), right.split(step), strict=True)  # noqa: E741
    ]
    mean, variance = (torch.cat(p) for p in zip(*parts, strict=True))
    return Costs(mean, variance.clamp_(min=0).sqrt_())


def mean_costs(clouds: Clouds, left: Tensor, right: Tensor) -> Tensor:
    """Mean cost of each pair of clouds, float64."""
    gap = clouds.mean[left] - clouds.mean[right]
    return gap.square().sum(1) + clouds.square[left] + clouds.square[right]


def _chunk(clouds: Clouds, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    mean, gap = mean_costs(clouds, left, right), clouds.mean[left] - clouds.mean[right]
    variance = clouds.square_variance[left] + clouds.square_variance[right]
    variance += 4 * (gap * (clouds.cubic[left] - clouds.cubic[right])).sum(1)
    if clouds.covariance is None:
        pairs = zip(left.tolist(), right.tolist(), gap, strict=True)
        return mean, variance + 4 * torch.stack([_over_points(clouds, a, b, g) for a, b, g in pairs])
    left_cov, right_cov = clouds.covariance[left], clouds.covariance[right]
    variance += 4 * (left_cov * right_cov).sum((1, 2))
    along = left_cov.add_(right_cov) @ gap[..., None]
    return mean, variance + 4 * (along[..., 0] * gap).sum(1)


def _over_points(clouds: Clouds, a: int, b: int, gap: Tensor) -> Tensor:
    """``tr(Σx Σy) + Δᵀ(Σx + Σy)Δ`` from the points themselves, for many features."""
    (x, u), (y, v) = (
        (clouds.points[s].double(), clouds.weights[s])
        for s in (slice(int(clouds.offsets[c]), int(clouds.offsets[c + 1])) for c in (a, b))
    )
    along = u @ (x @ gap).square_() + v @ (y @ gap).square_()
    step = max(1, CHUNK[x.device.type] * 16 // len(y))
    parts = [w @ (z @ y.mT).square_() @ v for z, w in zip(x.split(step), u.split(step), strict=True)]
    return along + torch.stack(parts).sum()
