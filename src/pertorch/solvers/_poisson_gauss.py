"""The Poisson-Gauss mixture of a guide's log₂ counts (crispat; Replogle et al. 2022), fitted to histograms."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pertorch.solvers._moments import posterior_moments
from pertorch.solvers._newton import Derivatives

_LN2 = math.log(2.0)
_ROOM = 1.5  # slots for each point, at most
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class GuideParameters(NamedTuple):
    """Background rate λ, signal mean μ and standard deviation σ in log₂ counts, and the signal's weight w₁."""

    rate: Tensor
    mean: Tensor
    std: Tensor
    weight: Tensor


@final
class PoissonGauss:
    """Negative log posterior of ``w₀ Pois(y; λ) + w₁ N(y; μ, σ)`` at y = log₂ count, for many guides.

    The background density is Poisson's continued to real numbers, ``λ^y e^−λ / Γ(y + 1)``. Priors, in the space of the
    parameters themselves: w ~ Dirichlet(0.9, 0.1), μ ~ N(3, 2), log σ ~ N(2, 1), log λ ~ N(0, 1).

    A point is ``(log λ, μ, log σ − floor(μ), logit w₁)``, so that every constraint is a bound (:meth:`bounds`).

    Parameters
    ----------
    values, times
        Shape ``(g, k)``: each guide's distinct counts and how often they occur; 0 times is padding.
    """

    def __init__(self, values: Tensor, times: Tensor) -> None:
        self.values, self.times = values, times.double()
        self.y = torch.log2(values.double())
        self.log_factorial = torch.lgamma(self.y + 1)
        self.cells = self.times.sum(-1)

    @cached_property
    def weighted(self) -> Tensor:
        """Cells with each count times powers 0 to 4 of y, shape ``(g, k, 5)``."""
        return torch.stack([self.times * self.y**power for power in range(5)], -1)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over the cells of each guide, shape ``(g,)``: of 1, of y, and of log Γ(y + 1)."""
        return self.cells, (self.times * self.y).sum(-1), (self.times * self.log_factorial).sum(-1)

    def at(self, guides: Tensor) -> _Rows:
        """The function of these guides, a guide as often as it is named."""
        return _Rows(self, guides)

    def bounds(self, guides: Tensor) -> tuple[Tensor, Tensor]:
        """Box of each point, shapes ``(p, 4)``.

        σ stays above a floor, and each component keeps the weight of one cell: without either, the posterior has no
        maximum, since a Gaussian can shrink onto the cells of one count, and a Dirichlet density with exponents below
        zero has poles at its corners.
        """
        logit = torch.log((self.cells[guides] - 1).clamp(min=1 + 1e-9))
        low = torch.stack([torch.full_like(logit, -20.0), torch.full_like(logit, -4.0), 0 * logit, -logit], -1)
        high = torch.stack([torch.full_like(logit, 6.0), torch.full_like(logit, 50.0), 0 * logit + 12, logit], -1)
        return low, high


def log_floor(mean: Tensor) -> Tensor:
    """Log of the smallest σ for a signal of 2^μ counts: half of what counting alone spreads, 2^(−μ/2) / ln 2."""
    return -0.5 * _LN2 * mean - math.log(2 * _LN2)


def signal_floor(mean: Tensor) -> Tensor:
    """The smallest standard deviation that a signal of this mean may have, both in log₂ counts."""
    return log_floor(mean).exp()


def parameters(x: Tensor) -> GuideParameters:
    """What a point stands for."""
    return GuideParameters(
        x[..., 0].exp(), x[..., 1], (log_floor(x[..., 1]) + x[..., 2]).exp(), torch.sigmoid(x[..., 3])
    )


def point(p: GuideParameters) -> Tensor:
    """The point of given parameters."""
    return torch.stack([p.rate.log(), p.mean, p.std.log() - log_floor(p.mean), torch.logit(p.weight)], -1)


def log_odds(p: GuideParameters, count: Tensor) -> Tensor:
    """Log odds of signal to background at counts ``(p, k)`` for parameters ``(p,)``."""
    y = torch.log2(count.double())
    c = _coefficients(p)[:, None, :]
    return c[..., 0] + (c[..., 1] + c[..., 2] * y) * y + torch.lgamma(y + 1)


def _coefficients(p: GuideParameters) -> Tensor:
    """``c`` with log odds of signal to background = c₀ + c₁ y + c₂ y² + log Γ(y + 1), shape ``(…, 3)``."""
    precision = p.std**-2
    constant = torch.logit(p.weight) - _LOG_SQRT_2PI - p.std.log() - 0.5 * p.mean**2 * precision + p.rate
    return torch.stack([constant, p.mean * precision - p.rate.log(), -0.5 * precision], -1)


@final
class _Rows:
    """Loss, gradient and Hessian. All sums over cells are moments of r and r(1 − r), r the posterior of the signal."""

    def __init__(self, model: PoissonGauss, guides: Tensor) -> None:
        self.sums = [sums[guides] for sums in model.sums]
        owner, self.fill, self.pick, self.slots = _slots(guides)
        self.y, self.log_factorial = model.y[owner, None], model.log_factorial[owner, None]
        self.weighted = model.weighted[owner]

    def __call__(self, x: Tensor) -> Derivatives:
        """See :func:`pertorch.solvers._newton.minimize`."""
        c = _coefficients(parameters(x))[self.fill].view(-1, self.slots, 3)
        odds = torch.addcmul(c[..., 1, None], c[..., 2, None], self.y).mul_(self.y)
        odds.add_(c[..., 0, None]).add_(self.log_factorial)
        moments = (part[self.pick] for part in posterior_moments(odds, self.weighted))
        return _assemble(x, *moments, *self.sums)


def _slots(guides: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Points of one guide side by side, so that its histogram is not copied for each of them.

    Of ascending guides: the guide of each run of slots, the point in each slot (an unused one repeats its guide's
    first), the slot of each point, and the slots of a run. Where many slots would be unused, a run is one point.
    """
    each = torch.arange(len(guides), device=guides.device)
    owner, sizes = torch.unique_consecutive(guides, return_counts=True)
    slots = int(sizes.max())
    if slots * len(owner) > _ROOM * len(guides):
        return guides, each, each, 1
    first = sizes.cumsum(0) - sizes
    within = torch.arange(slots, device=guides.device)
    fill = first[:, None] + torch.where(within < sizes[:, None], within, 0)
    run = torch.repeat_interleave(sizes)
    return owner, fill.flatten(), run * slots + each - first[run], slots


def log_prior(log_rate: Tensor, mean: Tensor, log_std: Tensor, of_weights: Tensor | float = 0.0) -> Tensor:
    """Log density of the parameters, but for constants, added to that of the weights."""
    return of_weights - (mean - 3) ** 2 / 8 - log_std - (log_std - 2) ** 2 / 2 - log_rate - log_rate**2 / 2


def _score_differences(rate: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """The signal's score less the background's in (log λ, μ, log σ, logit w₁), polynomials in y: ``(p, 4, 3)``."""
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    return torch.stack(
        [
            torch.stack([rate, -one, zero], -1),
            torch.stack([-mean * precision, precision, zero], -1),
            torch.stack([mean**2 * precision - 1, -2 * mean * precision, precision], -1),
            torch.stack([one, zero, zero], -1),
        ],
        -2,
    )


def _assemble(
    x: Tensor, r: Tensor, q: Tensor, evidence: Tensor, cells: Tensor, total: Tensor, constant: Tensor
) -> Derivatives:
    """From moments ``r[k] = Σ r yᵏ`` and ``q[k] = Σ r (1 − r) yᵏ`` to the negative log posterior and its derivatives.

    By Louis (1982): the Hessian of the log likelihood is that of the complete data, less the covariance of the
    complete data's score, which here is r(1 − r) δδᵀ with δ the difference of the two components' scores.
    """
    log_rate, mean, excess, logit = x.unbind(-1)
    rate, log_std = log_rate.exp(), log_floor(mean) + excess
    precision, log_w0, log_w1 = (-2 * log_std).exp(), logsigmoid(-logit), logsigmoid(logit)
    w0, w1 = log_w0.exp(), log_w1.exp()
    likelihood = cells * (log_w0 - rate) + total * log_rate - constant + evidence
    prior = log_prior(log_rate, mean, log_std, -0.1 * log_w0 - 0.9 * log_w1)
    r0, r1, r2 = r.unbind(-1)
    background = cells - r0
    score = (r1 - mean * r0) * precision
    square = (r2 - 2 * mean * r1 + mean**2 * r0) * precision
    d_log_std = square - r0 - 1 - (log_std - 2)
    gradient = torch.stack(
        [
            total - r1 - rate * background - 1 - log_rate,
            score - (mean - 3) / 4,
            d_log_std,
            r0 - cells * w1 + 0.1 * w1 - 0.9 * w0,
        ],
        -1,
    )
    delta = _score_differences(rate, mean, precision)
    hessian = delta @ torch.stack([q[:, :3], q[:, 1:4], q[:, 2:]], -2) @ delta.transpose(-1, -2)
    hessian[:, 0, 0] -= rate * background + 1
    hessian[:, 1, 1] -= r0 * precision + 0.25
    hessian[:, 2, 2] -= 2 * square + 1
    hessian[:, 3, 3] -= (cells - 1) * w0 * w1
    hessian[:, 1, 2] -= 2 * score
    hessian[:, 2, 1] -= 2 * score
    # log σ = floor(μ) + excess: the floor is linear in μ, so the chain rule adds one row and one column.
    slope = -0.5 * _LN2
    gradient[:, 1] += slope * d_log_std
    hessian[:, 1, :] += slope * hessian[:, 2, :]
    hessian[:, :, 1] += slope * hessian[:, :, 2]
    return -(likelihood + prior), -gradient, -hessian
