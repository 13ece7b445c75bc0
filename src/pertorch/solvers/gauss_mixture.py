"""Mixtures of two normals on a line, one of which is known: many of them at once, run to convergence."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

FIRST_DAMPING, EASE, TIGHTEN = 1.0, 0.5, 4.0
LARGEST_DAMPING = 1e12


@final
class Mixture(NamedTuple):
    """Fits of B mixtures, each entry of shape ``(B,)``, float64 but for the last two.

    Attributes
    ----------
    weight, mean, variance
        Of the free component.
    known_mean, known_variance
        Of the fixed component.
    n_iter
        Steps taken.
    converged
        Whether the last one changed nothing any more.
    """

    weight: Tensor
    mean: Tensor
    variance: Tensor
    known_mean: Tensor
    known_variance: Tensor
    n_iter: Tensor
    converged: Tensor

    def posterior(self, points: Tensor) -> Tensor:
        """Probability that points, shape ``(B, n)``, stem from the free component."""
        free = torch.stack([torch.logit(self.weight), self.mean, self.variance.log()], 1)
        log_odds = _log_odds(free, self.variance, self.known_mean, self.known_variance)
        return torch.sigmoid(_quadratic(log_odds, points))


def fit_mixtures(
    points: Tensor,
    inside: Tensor,
    known_mean: Tensor,
    known_variance: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    tol: float = 1e-8,
    max_iter: int = 300,
    floor: float = 1e-6,
) -> Mixture:
    """Maximum likelihood of weight, mean and variance of the free component, at weight ½ to begin with.

    EM creeps where the components overlap (10⁵ steps are common), and stopped early it leaves answers that depend on
    its start. Here every mixture takes damped Newton steps ``(−H + λ D)⁻¹ g`` on the likelihood itself, with D the
    information of the complete data, for which ``D⁻¹ g`` is EM's step (Lange 1995): λ = 1 begins like EM and λ → 0
    ends with quadratic convergence. A step that lowers the likelihood is not taken, and λ grows.

    Parameters
    ----------
    points
        Shape ``(B, n)``, float64: the data of each mixture, padded.
    inside
        Shape ``(B, n)``, bool: which of them are data.
    known_mean, known_variance
        Shape ``(B,)``: the fixed component.
    mean, variance
        Shape ``(B,)``: where the free component starts.
    tol
        A mixture has converged when a step moves the logit of its weight, its mean (in units of its standard deviation)
        and the logarithm of its variance by less than this, or gains nothing (a weight on its way to 0 or 1).
    max_iter
        Most steps.
    floor
        Least variance, so that the component cannot collapse onto one point.
    """
    spread = (variance - floor).clamp(min=floor)
    state = torch.stack([torch.zeros_like(mean), mean, spread.log()], 1)
    known = torch.stack([known_mean, known_variance], 1)
    # Powers of t, zero where there is no cell, so that padding counts in no moment.
    data = torch.stack([points**i for i in range(5)], 1).mul_(inside[:, None])
    result, n_iter = state.clone(), torch.zeros(len(mean), dtype=torch.int64, device=mean.device)
    converged = torch.zeros_like(n_iter, dtype=torch.bool)
    alive = torch.arange(len(mean), device=mean.device)
    damping = torch.full_like(mean, FIRST_DAMPING)
    here = _Likelihood.at(state, data, known, floor)
    for i in range(1, max_iter + 1):
        if not len(alive):
            break
        step, gain = here.step(damping)
        there = _Likelihood.at(state + step, data, known, floor)
        better = (gain > 0) & (there.value >= here.value) & torch.isfinite(there.curvature).all(2).all(1)
        size = torch.where(gain >= 0, (step * here.units).abs().amax(1), torch.inf)
        done = ((size < tol) & (damping < 1e-2)) | ((gain >= 0) & (gain < 1e-14 * here.value.abs()))
        done |= damping > LARGEST_DAMPING
        state = torch.where(better[:, None], state + step, state)
        here = here.replaced(there, better)
        damping = torch.where(better, damping * EASE, damping * TIGHTEN)
        result[alive], n_iter[alive], converged[alive] = state, i, done
        if bool(done.any()):
            keep = ~done
            alive, state, damping, data, known = (x[keep] for x in (alive, state, damping, data, known))
            here = here.only(keep)
    return Mixture(
        torch.sigmoid(result[:, 0]),
        result[:, 1],
        floor + result[:, 2].exp(),
        known_mean,
        known_variance,
        n_iter,
        converged,
    )


@final
class _Likelihood(NamedTuple):
    """Log-likelihoods as functions of (logit weight, mean, log(variance − floor)), about one point."""

    value: Tensor  # (B,), less what does not depend on the point
    gradient: Tensor  # (B, 3)
    curvature: Tensor  # (B, 3, 3): −H
    complete: Tensor  # (B, 3): D, which is diagonal
    units: Tensor  # (B, 3): 1 over what counts as a unit of each coordinate

    @classmethod
    def at(cls, state: Tensor, data: Tensor, known: Tensor, floor: float) -> _Likelihood:
        """Value, gradient and curvature from the moments of the posteriors r and of r(1 − r)."""
        logit, mean, log_spread = state.unbind(1)
        spread = log_spread.exp()
        variance = floor + spread
        n, weight = data[:, 0].sum(1), torch.sigmoid(logit)
        log_odds = _quadratic(_log_odds(state, variance, *known.unbind(1)), data[:, 1])
        r = torch.sigmoid(log_odds)
        first = _moments(data[:, :3], r)
        second = _moments(data, r - r * r)
        value = _moments(data[:, :1], torch.nn.functional.softplus(log_odds))[:, 0]
        value = value - n * torch.nn.functional.softplus(logit)
        slopes, bends = _derivatives(mean, variance, spread)
        hankel = torch.stack([second[:, i : i + 3] for i in range(3)], 1)
        hessian = slopes.mT @ hankel @ slopes + (first[:, :, None, None] * bends).sum(1)
        hessian[:, 0, 0] -= n * weight * (1 - weight)
        gradient = (first[:, None] @ slopes)[:, 0]
        gradient[:, 0] -= n * weight
        free = first[:, 0]
        complete = torch.stack([n * weight * (1 - weight), free / variance, 0.5 * free * (spread / variance) ** 2], 1)
        one = torch.ones_like(mean)
        return cls(value, gradient, -hessian, complete, torch.stack([one, variance.rsqrt(), spread / variance], 1))

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """The damped Newton step, and the gain that it promises: negative where the system is not positive."""
        system = self.curvature + torch.diag_embed(self.complete * damping[:, None] + 1e-300)
        scale = system.diagonal(dim1=1, dim2=2).abs().clamp(min=1e-300).rsqrt()
        factor, failed = torch.linalg.cholesky_ex(system * scale[:, :, None] * scale[:, None])
        factor = torch.where(
            (failed == 0)[:, None, None], factor, torch.eye(3, dtype=factor.dtype, device=factor.device)
        )
        step = scale * torch.cholesky_solve((scale * self.gradient)[:, :, None], factor)[:, :, 0]
        gain = 0.5 * (step * self.gradient).sum(1)
        return torch.where((failed == 0)[:, None], step, 0), torch.where(failed == 0, gain, -torch.inf)

    def only(self, keep: Tensor) -> _Likelihood:
        """Of the mixtures that go on."""
        return _Likelihood(*(part[keep] for part in self))

    def replaced(self, other: _Likelihood, where: Tensor) -> _Likelihood:
        """The other's where it is better."""
        return _Likelihood(
            *(
                torch.where(where.view(-1, *[1] * (mine.dim() - 1)), theirs, mine)
                for mine, theirs in zip(self, other, strict=True)
            )
        )


def _moments(data: Tensor, weights: Tensor) -> Tensor:
    """``Σ_i w[b, i] t[b, i]^p``: shape ``(B, powers)``."""
    return (data @ weights[:, :, None])[:, :, 0]


def _quadratic(coefficients: Tensor, t: Tensor) -> Tensor:
    """log(w₁N₁ / w₀N₀) at each point: a quadratic in t."""
    constant, slope, bend = coefficients[:, :, None].unbind(1)
    return torch.addcmul(constant, t, torch.addcmul(slope, t, bend))


def _log_odds(state: Tensor, variance: Tensor, known_mean: Tensor, known_variance: Tensor) -> Tensor:
    """Coefficients of 1, t and t² in the log odds of the free component: shape ``(B, 3)``."""
    logit, mean, _ = state.unbind(1)
    constant = logit + 0.5 * torch.log(known_variance / variance)
    constant = constant + 0.5 * (known_mean**2 / known_variance - mean**2 / variance)
    slope = mean / variance - known_mean / known_variance
    return torch.stack([constant, slope, 0.5 * (1 / known_variance - 1 / variance)], 1)


def _derivatives(mean: Tensor, variance: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of those coefficients, coefficient first: shapes ``(B, 3, 3)`` and ``(B, 3, 3, 3)``."""
    zero, one, s, e, m = torch.zeros_like(mean), torch.ones_like(mean), variance, spread, mean
    by_s = 0.5 * (m**2 / s**2 - 1 / s)
    slopes = [[one, -m / s, by_s * e], [zero, 1 / s, -m / s**2 * e], [zero, zero, 0.5 / s**2 * e]]
    mixed = [m / s**2 * e, -e / s**2, zero]
    twice = [
        (0.5 / s**2 - m**2 / s**3) * e**2 + by_s * e,
        2 * m / s**3 * e**2 - m / s**2 * e,
        0.5 / s**2 * e - e**2 / s**3,
    ]
    bends = [
        [[zero, zero, zero], [zero, -1 / s if c == 0 else zero, mixed[c]], [zero, mixed[c], twice[c]]] for c in range(3)
    ]
    return _stack(slopes), torch.stack([_stack(b) for b in bends], 1)


def _stack(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], 1)
