"""The iteration of one batch: relaxation, errors, who leaves. Blind to where the scores come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.softmin import Errors, Potentials

CHECK = 4  # iterations between looks at the errors: so the rate is a fourth root
GAIN = 1e-7  # of the value: what the dual may still gain when a problem leaves
LINEAR = 0.5  # error below which errors fall at a rate that tells of the problem
START = 1.6  # ω before anything is known: errors fall by 0.6 an iteration, or less well where ω = 1 would by over 0.94
LEAST, BACK = 1.5, 0.1  # of ω found; and how much nearer to 1 it goes where an error grew
RAISED = 0.02  # ω raised by more makes larger steps, hence larger errors, of which the next look tells nothing else
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
    """``⟨a, α⟩ + ⟨b, β⟩`` of each problem, whether it converged, iterations, marginal error: ``(b,)``, on the CPU."""

    potentials: Tensor
    converged: Tensor
    iterations: Tensor
    marginal_error: Tensor


@final
class Progress:
    """Error, rate and relaxation of each problem of a batch: on the CPU, where so little is done soonest."""

    def __init__(self, epsilon: Tensor, mean_cost: Tensor, rule: Rule) -> None:
        self.epsilon, self.mean_cost, self.rule = epsilon.cpu(), mean_cost.cpu(), rule
        self.error = torch.full_like(self.epsilon, torch.inf)
        self.rho = torch.full_like(self.epsilon, 0.9)
        self.omega = torch.full_like(self.epsilon, rule.relaxation or START)
        self.raised = self.epsilon < 0  # none

    def take(self, kept: Tensor) -> None:
        """Go on with some of the problems."""
        self.__dict__ |= {k: v[kept] for k, v in self.__dict__.items() if isinstance(v, Tensor)}

    def look(self, errors: Errors) -> Tensor:
        """Take note of the errors: which problems have converged.

        The next half iteration adds ε times the divergence to the dual, and the later ones, together, the sum of a
        geometric series.
        """
        # square roots, unlike powers, have the same bits wherever in a tensor they are taken
        rate, excess = (errors.marginal / self.error).sqrt_().sqrt_(), self.omega - 1
        linear = (self.error < LINEAR) & (rate < 1)
        # errors that fall faster than by ω − 1 do not yet tell of ρ, but that a smaller ω may do
        best = torch.where(rate > excess, ((rate + excess) / self.omega).square() / rate, _rho_of(1 + rate))
        self.rho = torch.where(linear & ~self.raised, best.clamp_(max=SLOWEST), self.rho)
        if self.rule.relaxation is None:
            omega = 2 / (1 + (1 - self.rho).sqrt())
            omega = torch.where(rate > excess, torch.maximum(self.omega, omega), omega.clamp_(min=LEAST))
            omega = torch.where(linear, omega, torch.where(rate < 1, self.omega, self.omega - BACK * excess))
            omega = torch.where(self.raised, self.omega, omega)
            self.raised, self.omega = omega > self.omega + RAISED, omega
        self.error = errors.marginal
        value = self.mean_cost + self.epsilon * errors.value
        gain = self.epsilon * errors.divergence / (1 - self.rho)
        return (self.error <= self.rule.threshold) & (gain <= GAIN * value.abs())


def _rho_of(omega: Tensor) -> Tensor:
    """The rate ρ of which ω is the best relaxation."""
    return 1 - (2 / omega - 1).square()


def iterate(potentials: Potentials, progress: Progress) -> Outcome:
    """Iterate a batch until each problem has converged or is given up.

    The first step is a full one, for the first potentials are none to go on from; and so is each problem's last.
    """
    most, where = progress.rule.max_iterations, torch.arange(len(progress.epsilon))
    out = Outcome(torch.zeros_like(progress.epsilon), where < 0, torch.zeros_like(where), progress.error.clone())
    here, made = where >= 0, min(1, most - 1)  # who has not left, and iterations
    potentials.step(torch.ones_like(progress.omega), made)
    for iteration in [*range(CHECK, most, CHECK), most]:
        potentials.step(progress.omega, iteration - 1 - made)
        converged, made = progress.look(potentials.look()), iteration
        leaving = here & converged if iteration < most else here
        potentials.step(progress.omega.masked_fill(leaving, 1.0))
        if not leaving.any():
            continue
        gone = where[leaving]
        out.potentials[gone] = potentials.value()[leaving]
        out.converged[gone], out.marginal_error[gone] = converged[leaving], progress.error[leaving]
        out.iterations[gone] = iteration
        here = here & ~leaving
        kept = torch.nonzero(here)[:, 0]
        if not len(kept):
            break
        if len(kept) <= potentials.shrink * len(here):
            potentials.take(kept)
            progress.take(kept)
            where, here = where[kept], here[kept]
    return out
