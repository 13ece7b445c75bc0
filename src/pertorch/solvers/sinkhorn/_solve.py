"""Problems in batches of like shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.softmin import Engine, Side, engine
from pertorch.ops.softmin._problems import NOTHING
from pertorch.solvers.sinkhorn._clouds import Clouds
from pertorch.solvers.sinkhorn._costs import mean_costs
from pertorch.solvers.sinkhorn._loop import Outcome, Progress, Rule, iterate

Spread = Callable[[Callable[[Tensor], Outcome], Sequence[Tensor]], Iterable[Outcome]]
POTENTIALS = 2**24  # of both sides that a batch holds at most, padded
FEW = 2**20  # of which half or more may be padding


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
    spread: Spread = map,
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
    spread
        ``spread(work, batches)`` does the work on each batch and gives what came of it, in order: where there are
        several threads, in those.
    """
    left, right = _ordered(clouds, left, right)
    mean_cost = mean_costs(clouds, left, right)
    out = Sinkhorn(mean_cost.clone(), epsilon >= 0, torch.zeros_like(left), torch.zeros_like(epsilon))
    make = engine(clouds.points, clouds.offsets)

    def work(problems: Tensor) -> Outcome:
        sides = _side(clouds, left[problems]), _side(clouds, right[problems])
        twins = bool(left[problems[0]] == right[problems[0]])
        progress = Progress(epsilon[problems], mean_cost[problems], replace(rule, relaxation=1.0) if twins else rule)
        outcome = _batch(make, clouds, *sides, progress, twins=twins)
        if tick:
            tick(int((sides[0].size * sides[1].size).sum()))
        return outcome

    batches = [
        batch
        for some in ((epsilon > 0) & (left == right), (epsilon > 0) & (left != right))
        for batch in _batches(clouds, left, right, torch.nonzero(some)[:, 0], make)
    ]
    for problems, outcome in zip(batches, spread(work, batches), strict=True):
        out.cost[problems] += epsilon[problems] * outcome.potentials
        for whole, part in zip(out[1:], outcome[1:], strict=True):
            whole[problems] = part
    return out


def _batch(make: Engine, clouds: Clouds, left: Side, right: Side, progress: Progress, *, twins: bool) -> Outcome:
    """Start where the two clouds would differ by a translation alone: φ' = 0."""
    alpha = clouds.norm[left.positions()[0]] / -progress.epsilon[:, None]
    return iterate(make(left, right, 2 / progress.epsilon), left, right, alpha, progress, twins=twins)


def _ordered(clouds: Clouds, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller cloud first, of two that are equally large the tighter one: so that the order given is none."""
    n, square = clouds.sizes, clouds.square
    swap = (n[left] > n[right]) | ((n[left] == n[right]) & (square[left] > square[right]))
    return torch.where(swap, right, left), torch.where(swap, left, right)


def _side(clouds: Clouds, cloud: Tensor) -> Side:
    start, size = clouds.offsets[cloud], clouds.sizes[cloud]
    blank = torch.zeros(len(cloud), int(size.max()), dtype=torch.float64, device=start.device)
    index, inside = Side(cloud, start, size, blank).positions()
    return Side(cloud, start, size, torch.where(inside, clouds.weights[index].log(), NOTHING))


def _batches(clouds: Clouds, left: Tensor, right: Tensor, problems: Tensor, make: Engine) -> Iterator[Tensor]:
    """Problems of like shape together, largest first."""
    n, m = clouds.sizes[left[problems]].cpu(), clouds.sizes[right[problems]].cpu()
    like = (4 * m.double().log2()).round() * (1 + 2.0**32) + n  # columns alike, then rows
    order = torch.argsort(like, descending=True, stable=True)
    shapes = list(zip(n[order].tolist(), m[order].tolist(), strict=True))
    most = make.largest_batch(sum(rows * columns for rows, columns in shapes))
    start, height, width, used = 0, 0, 0, 0
    for stop, (rows, columns) in enumerate(shapes):
        height, width, used, count = max(height, rows), max(width, columns), used + rows + columns, stop + 1 - start
        potentials = count * (height + width)
        wasteful = potentials > POTENTIALS or (potentials > FEW and potentials > 2 * used)
        if stop > start and (wasteful or count * height * width > most):
            yield problems[order[start:stop].to(problems.device)]
            start, height, width, used = stop, rows, columns, rows + columns
    if shapes:
        yield problems[order[start:].to(problems.device)]
