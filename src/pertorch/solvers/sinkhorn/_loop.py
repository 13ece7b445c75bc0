"""The iteration of one batch: relaxation, errors, who leaves. Blind to where the scores come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.softmin import Side, Softmin

CHECK = 4  # iterations between looks at the errors
GAIN = 3e-8  # of the value: what the dual may still gain when a problem leaves
LINEAR = 0.5  # error below which errors fall at a rate that tells of the problem
START = 1.6  # ω before anything is known: errors fall by 0.6 an iteration, or less well where ω = 1 would by over 0.94
SLOWEST = 0.9999  # ρ is taken to be no more: ω stays below 1.98


@final
@dataclass(frozen=True)
class Rule:
    """When to stop, and how far to step.

    Parameters
    ----------
    threshold
        Sum of the L1 errors of both marginals at which a problem has converged.
    max_iterations
        After so many it is given up, its value being that of the last potentials.
    relaxation
        ω in [1, 2) for all iterations; ``None`` finds each problem's own.
    """

    threshold: float = 1e-3
    max_iterations: int = 2000
    relaxation: float | None = None


@final
class Outcome(NamedTuple):
    """Of each problem: ``⟨a, α⟩ + ⟨b, β⟩``, whether it converged, iterations, marginal error. Shape ``(b,)`` each."""

    potentials: Tensor
    converged: Tensor
    iterations: Tensor
    marginal_error: Tensor


@final
class Progress:
    """Error, rate and relaxation of each problem of a batch."""

    def __init__(self, epsilon: Tensor, mean_cost: Tensor, rule: Rule) -> None:
        self.epsilon, self.mean_cost, self.rule = epsilon, mean_cost, rule
        self.error = torch.full_like(epsilon, torch.inf)
        self.rho = torch.full_like(epsilon, 0.9)
        self.omega = torch.full_like(epsilon, rule.relaxation or START)

    def take(self, kept: Tensor) -> None:
        """Go on with some of the problems."""
        self.__dict__ |= {k: v[kept] for k, v in self.__dict__.items() if isinstance(v, Tensor)}

    def look(self, error: Tensor, divergence: Tensor, potentials: Tensor) -> Tensor:
        """Take note of the errors: which problems have converged.

        `divergence` is the Kullback-Leibler divergence of the marginals, of which the next half iteration adds ε
        times to the dual, and the later ones, together, the sum of a geometric series.
        """
        rate = (error / self.error).pow(1 / CHECK)
        linear = (self.error < LINEAR) & (rate < 1)
        rho = ((rate + self.omega - 1) / self.omega).square() / rate
        self.rho = torch.where(linear & (rate > self.omega - 1), rho, self.rho).clamp_(max=SLOWEST)
        if self.rule.relaxation is None:
            best = 2 / (1 + (1 - self.rho).sqrt())
            raised = torch.where(linear, torch.maximum(self.omega, best), self.omega)
            self.omega = torch.where(rate >= 1, (1 + self.omega) / 2, raised)
        self.error = error
        value = self.mean_cost + self.epsilon * potentials
        gain = self.epsilon * divergence / (1 - self.rho)
        return (error <= self.rule.threshold) & (gain <= GAIN * value.abs())


def iterate(soft: Softmin, left: Side, right: Side, alpha: Tensor, progress: Progress) -> Outcome:
    """Iterate a batch until each problem has converged or is given up.

    Parameters
    ----------
    soft
        The batch's soft minima.
    left, right
        Its sides.
    alpha
        Where the rows' potentials start, shape ``(b, n)``, float64.
    progress
        Of the batch.
    """
    where = torch.arange(len(alpha), device=alpha.device)
    out = Outcome(torch.zeros_like(progress.epsilon), where < 0, torch.zeros_like(where), progress.error.clone())
    beta = torch.zeros_like(right.log_weight)
    a, b = left.log_weight.exp(), right.log_weight.exp()
    row_error, rule = progress.error, progress.rule
    iteration, here = 0, torch.ones_like(where, dtype=torch.bool)  # here: has not left
    while True:
        iteration += 1
        target = soft.columns(alpha)
        # the first potentials of either side are none to go on from
        omega = progress.omega[:, None] if iteration > 1 else torch.ones_like(progress.omega)[:, None]
        looking = iteration % CHECK == 0 or iteration >= rule.max_iterations
        leaving = torch.zeros_like(here)
        if looking:
            step = target - beta
            error = (b * torch.expm1(-step).abs_()).sum(1) + row_error
            divergence = (b * step.square_()).sum(1) / 2
            converged = progress.look(error, divergence, (a * alpha).sum(1) + (b * beta).sum(1))
            leaving = here & (converged | (iteration >= rule.max_iterations))
            # with a full step on both sides
            omega = torch.where(leaving, 1.0, progress.omega)[:, None]
        beta = target if iteration == 1 else beta + omega * (target - beta)
        target = soft.rows(beta)
        alpha = alpha + omega * (target - alpha)
        if (iteration + 1) % CHECK == 0 or iteration + 1 >= rule.max_iterations:
            row_error = (a * torch.expm1(alpha - target).abs_()).sum(1)
        if looking and bool(leaving.any()):
            gone = where[leaving]
            out.potentials[gone] = ((a * alpha).sum(1) + (b * beta).sum(1))[leaving]
            out.converged[gone], out.marginal_error[gone] = converged[leaving], error[leaving]
            out.iterations[gone] = iteration
            here = here & ~leaving
            n_here = int(here.sum())
            if n_here == 0:
                return out
            if 2 * n_here <= len(here):
                kept = torch.nonzero(here)[:, 0]
                soft = soft.take(kept)
                progress.take(kept)
                where, alpha, beta, a, b, row_error, here = (
                    t[kept] for t in (where, alpha, beta, a, b, row_error, here)
                )
