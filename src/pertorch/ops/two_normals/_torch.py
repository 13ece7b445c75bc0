"""The maximum in torch: a launch for each operation, and mixtures that have come to rest leave the batch."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

FIRST_DAMPING, EASE, TIGHTEN = 1.0, 0.5, 4.0
SMALL_DAMPING, LARGEST_DAMPING = 1e-2, 1e12
NO_GAIN = 1e-14  # of the likelihood


def maximize(
    points: Tensor, inside: Tensor, known: Tensor, start: Tensor, *, tol: float, max_iter: int, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`pertorch.ops.two_normals.maximize`."""
    # Powers of t, zero where there is no cell, so that padding counts in no moment.
    data = torch.stack([points**i for i in range(5)], 1).mul_(inside[:, None])
    state, result = start, start.clone()
    n_iter = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    converged = torch.zeros_like(n_iter, dtype=torch.bool)
    alive = torch.arange(len(start), device=start.device)
    damping = torch.full_like(start[:, 0], FIRST_DAMPING)
    here = _Likelihood.at(state, data, known, floor)
    for i in range(1, max_iter + 1):
        if not len(alive):
            break
        step, gain = here.step(damping)
        there = _Likelihood.at(state + step, data, known, floor)
        better = (gain > 0) & (there.value >= here.value) & torch.isfinite(there.curvature).all(2).all(1)
        size = torch.where(gain >= 0, (step * here.units).abs().amax(1), torch.inf)
        done = ((size < tol) & (damping < SMALL_DAMPING)) | ((gain >= 0) & (gain < NO_GAIN * here.value.abs()))
        done |= damping > LARGEST_DAMPING
        state = torch.where(better[:, None], state + step, state)
        here = here.replaced(there, better)
        damping = torch.where(better, damping * EASE, damping * TIGHTEN)
        result[alive], n_iter[alive], converged[alive] = state, i, done
        if bool(done.any()):
            keep = ~done
            alive, state, damping, data, known = (x[keep] for x in (alive, state, damping, data, known))
            here = here.only(keep)
    return result, n_iter, converged


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
        odds = quadratic(log_odds(state, variance, *known.unbind(1)), data[:, 1])
        r = torch.sigmoid(odds)
        first = _moments(data[:, :3], r)
        second = _moments(data, r - r * r)
        value = _moments(data[:, :1], _softplus(odds))[:, 0]
        value = value - n * _softplus(logit)
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


def _softplus(x: Tensor) -> Tensor:
    return torch.nn.functional.softplus(x, threshold=40)  # from where on the default, 20, errs by 2e-9


def _moments(data: Tensor, weights: Tensor) -> Tensor:
    """``Σ_i w[b, i] t[b, i]^p``: shape ``(B, powers)``."""
    return (data @ weights[:, :, None])[:, :, 0]


def quadratic(coefficients: Tensor, t: Tensor) -> Tensor:
    """log(w₁N₁ / w₀N₀) at each point: a quadratic in t."""
    constant, slope, bend = coefficients[:, :, None].unbind(1)
    return torch.addcmul(constant, t, torch.addcmul(slope, t, bend))


def log_odds(state: Tensor, variance: Tensor, known_mean: Tensor, known_variance: Tensor) -> Tensor:
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
