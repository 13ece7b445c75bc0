"""The iteration of one batch: relaxation, errors, who leaves. Blind to where the scores come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.softmin import Side, Softmin

CHECK = 4  # iterations between looks at the errors
GAIN = 1e-7  # of the value: what the dual may still gain when a problem leaves
LINEAR = 0.5  # error below which errors fall at a rate that tells of the problem
START = 1.6  # ω before anything is known: errors fall by 0.6 an iteration, or less well where ω = 1 would by over 0.94
LEAST, BACK = 1.5, 0.15  # of ω found; and how much nearer to 1 it goes where an error grew
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
        rate, excess = (error / self.error).pow(1 / CHECK), self.omega - 1
        linear = (self.error < LINEAR) & (rate < 1)
        # errors that fall faster than by ω − 1 do not yet tell of ρ, but that a smaller ω may do
        best = torch.where(rate > excess, ((rate + excess) / self.omega).square() / rate, _rho_of(1 + rate))
        self.rho = torch.where(linear, best.clamp_(max=SLOWEST), self.rho)
        if self.rule.relaxation is None:
            omega = 2 / (1 + (1 - self.rho).sqrt())
            omega = torch.where(rate > excess, torch.maximum(self.omega, omega), omega.clamp(min=LEAST))
            self.omega = torch.where(linear, omega, torch.where(rate < 1, self.omega, self.omega - BACK * excess))
        self.error = error
        value = self.mean_cost + self.epsilon * potentials
        gain = self.epsilon * divergence / (1 - self.rho)
        return (error <= self.rule.threshold) & (gain <= GAIN * value.abs())


def _rho_of(omega: Tensor) -> Tensor:
    """The rate ρ of which ω is the best relaxation."""
    return 1 - (2 / omega - 1).square()


def iterate(soft: Softmin, left: Side, right: Side, alpha: Tensor, progress: Progress, *, twins: bool) -> Outcome:
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
    twins
        Whether each problem is between a cloud and itself. Its potentials are one, and half a step towards the soft
        minimum at least halves the error, whatever ε is (Feydy et al. 2019).
    """
    state = _State(soft, alpha, torch.zeros_like(right.log_weight), left.log_weight.exp(), right.log_weight.exp())
    rule, where = progress.rule, torch.arange(len(alpha), device=alpha.device)
    out = Outcome(torch.zeros_like(progress.epsilon), where < 0, torch.zeros_like(where), progress.error.clone())
    here, iteration = where >= 0, 0  # here: has not left
    while True:
        iteration += 1
        target = soft.columns(state.alpha)
        if twins:
            state.beta = state.alpha
        looking = iteration % CHECK == 0 or iteration >= rule.max_iterations
        converged = progress.look(*state.errors(target)) if looking else here
        leaving = here & (converged | (iteration >= rule.max_iterations)) & looking
        if twins:
            state.beta, state.alpha = target, (state.alpha + target) / 2
        else:
            # a full step from the first potentials, which are none to go on from, and to the last
            omega = progress.omega
            if looking or iteration == 1:
                omega = torch.where(leaving | (iteration == 1), 1.0, omega)
            before_look = (iteration + 1) % CHECK == 0 or iteration + 1 >= rule.max_iterations
            state.step(target, omega[:, None], note=before_look)
        if looking and bool(leaving.any()):
            gone = where[leaving]
            out.potentials[gone] = state.potentials()[leaving]
            out.converged[gone], out.marginal_error[gone] = converged[leaving], progress.error[leaving]
            out.iterations[gone] = iteration
            here &= ~leaving
            kept = torch.nonzero(here)[:, 0]
            if not len(kept):
                return out
            if 2 * len(kept) <= len(here):
                state.take(kept)
                progress.take(kept)
                soft, where, here = state.soft, where[kept], here[kept]


@final
class _State:
    """Potentials and weights of a batch."""

    def __init__(self, soft: Softmin, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> None:
        self.soft, self.alpha, self.beta, self.a, self.b = soft, alpha, beta, a, b
        self.row_error = alpha.new_zeros(len(alpha))

    def take(self, kept: Tensor) -> None:
        """Go on with some of the problems."""
        self.soft = self.soft.take(kept)
        self.__dict__ |= {k: v[kept] for k, v in self.__dict__.items() if isinstance(v, Tensor)}

    def potentials(self) -> Tensor:
        """``⟨a, α⟩ + ⟨b, β⟩``."""
        return (self.a * self.alpha).sum(1) + (self.b * self.beta).sum(1)

    def errors(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L1 errors of both marginals, added up; divergence of the columns' from theirs; `potentials`."""
        step = target - self.beta
        error = (self.b * torch.expm1(-step).abs_()).sum(1) + self.row_error
        return error, (self.b * step.square()).sum(1) / 2, self.potentials()

    def step(self, target: Tensor, omega: Tensor, *, note: bool) -> None:
        """Both sides, relaxed by ω; with `note`, the rows' error after it."""
        self.beta = torch.lerp(self.beta, target, omega)
        target = self.soft.rows(self.beta)
        self.alpha = torch.lerp(self.alpha, target, omega)
        if note:
            self.row_error = (self.a * torch.expm1(self.alpha - target).abs_()).sum(1)
