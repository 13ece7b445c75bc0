"""Problems in batches, shared by devices and threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import map_devices, map_threads
from pertorch.ops.softmin import Engine, Points, engine
from pertorch.solvers.sinkhorn._clouds import Clouds
from pertorch.solvers.sinkhorn._costs import mean_costs
from pertorch.solvers.sinkhorn._loop import Outcome, Progress, Rule, iterate

TWINS = 1 / 16  # of the work of two clouds that are not one: half the soft minima in an eighth of the iterations


@final
class Sinkhorn(NamedTuple):
    """Solutions of entropic transport problems, shape ``(p,)`` each.

    Attributes
    ----------
    cost
        ``⟨P, C⟩ + ε KL(P | a bᵀ)``: OTT's ``reg_ot_cost``. float64.
    converged
        Whether the marginals came within the threshold.
    iterations
        Until they did, or until the problem was given up; 0 where all costs are equal.
    marginal_error
        L1 errors of both marginals, added up, before the last full step.
    """

    cost: Tensor
    converged: Tensor
    iterations: Tensor
    marginal_error: Tensor


def solve(
    clouds: Clouds,
    left: Tensor,
    right: Tensor,
    epsilon: Tensor,
    rule: Rule,
    tick: Callable[[int], object] | None = None,
    devices: Sequence[torch.device] | None = None,
) -> Sinkhorn:
    """Entropic transport with cost ``|x − y|²`` between pairs of clouds.

    Parameters
    ----------
    clouds
        The clouds.
    left, right
        Which clouds each problem is between, shape ``(p,)``, int64, on the device of the clouds.
    epsilon
        ε of each problem, shape ``(p,)``, float64; at 0 every coupling is taken to cost the mean.
    rule
        When to stop.
    tick
        Called with the pairs of points of the problems that are done.
    devices
        Where to solve, the device of the clouds first: that one alone, if not given. How many there are changes no bit
        of the solutions.
    """
    left, right = _ordered(clouds, left, right)
    given = _Problems(left, right, epsilon, mean_costs(clouds, left, right))
    out = Sinkhorn(given.mean_cost.clone(), epsilon >= 0, torch.zeros_like(left), torch.zeros_like(epsilon))
    points = Points(clouds.points, clouds.weights.log(), clouds.norm, clouds.offsets)
    first, numbers = engine(points), (clouds.sizes[left] * clouds.sizes[right]).cpu()
    batches = _batches(first, clouds.sizes, given, len(devices or [0]))

    def work(device: torch.device, run: slice) -> list[Outcome]:
        make = first if device == left.device else engine(points.to(device))

        def each(batch: Tensor) -> Outcome:
            outcome = _solve_batch(make, _Problems(*(t[batch.to(t.device)].to(device) for t in given)), rule)
            if tick:
                tick(int(numbers[batch].sum()))
            return outcome

        if len(batches) == 1:  # whose operations torch itself shares out
            return [each(batch) for batch in batches[run]]
        return list(map_threads(each, batches[run], device))

    def cost() -> Tensor:
        same = (left == right).cpu()
        return torch.tensor([float((numbers[batch] * torch.where(same[batch], TWINS, 1.0)).sum()) for batch in batches])

    outcomes = itertools.chain.from_iterable(map_devices(devices or [left.device], cost, work))
    for batch, outcome in zip(batches, outcomes, strict=True):
        problems = batch.to(left.device)
        potentials, *others = (t.to(left.device) for t in outcome)
        out.cost[problems] += epsilon[problems] * potentials
        for whole, part in zip(out[1:], others, strict=True):
            whole[problems] = part
    return out


@final
class _Problems(NamedTuple):
    """Clouds of each problem, ε, and mean cost."""

    left: Tensor
    right: Tensor
    epsilon: Tensor
    mean_cost: Tensor


def _batches(make: Engine, sizes: Tensor, problems: _Problems, shares: int) -> list[Tensor]:
    """Problems of two clouds that are one, then the others, cut into batches; on the CPU."""
    left, right, epsilon = (t.cpu() for t in problems[:3])
    n, m, twins = sizes.cpu()[left], sizes.cpu()[right], left == right
    kinds = [torch.nonzero(kind & (epsilon > 0))[:, 0] for kind in (twins, ~twins)]
    return [some[batch] for some in kinds if len(some) for batch in make.batches(n[some], m[some], shares)]


def _solve_batch(make: Engine, problems: _Problems, rule: Rule) -> Outcome:
    twins = bool(problems.left[0] == problems.right[0])
    potentials = make(problems.left, problems.right, 2 / problems.epsilon, twins=twins)
    rule = replace(rule, relaxation=1.0) if twins else rule
    return iterate(potentials, Progress(problems.epsilon, problems.mean_cost, rule))


def _ordered(clouds: Clouds, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller cloud first, of two that are equally large the tighter one: so that the order given is none."""
    n, square = clouds.sizes, clouds.square
    swap = (n[left] > n[right]) | ((n[left] == n[right]) & (square[left] > square[right]))
    return torch.where(swap, right, left), torch.where(swap, left, right)
