"""Many small minimisations at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from pertorch.solvers._small_systems import solve_batched, solve_unrolled

Derivatives = tuple[Tensor, Tensor, Tensor]
Function = Callable[[Tensor], Derivatives]

DAMPED = 1e-2  # below it a step is a Newton step in all but name, so its length tells how far the minimum is
SLACK = 1e-13  # relative: two losses this close are equal in float64
CALMER, WILDER = 0.2, 4.0  # damping after a step that helped, and after one that did not
LEAST, MOST = 1e-3, 1e10  # damping after a step that did not help
RAISES = 12  # of the damping before a step; scales are curvatures, so that a few hold down any direction
REACH = 2.0  # longest step of a parameter
MEMORY = 0.9  # how slowly the scale of a parameter falls: a curvature that passes through 0 must not unleash a step
_SHRINK = 0.7  # drop what has converged once this share or less is left


class Minimum(NamedTuple):
    """Where the problems ended.

    Attributes
    ----------
    x
        Shape ``(p, d)``.
    loss
        Shape ``(p,)``; infinite for a problem that went on as a kin of its.
    converged
        Shape ``(p,)``, bool.
    """

    x: Tensor
    loss: Tensor
    converged: Tensor


def minimize(
    problems: Callable[[Tensor], Function],
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    *,
    max_iter: int,
    tol: float,
    kin: Tensor | None = None,
    meet: float = 0.05,
    reach: float = REACH,
) -> Minimum:
    """Local minima in boxes, by projected Newton steps with Levenberg-Marquardt damping (Bertsekas 1982; Moré 1978).

    Each problem keeps its own damping and leaves when it has converged.

    Parameters
    ----------
    problems
        Given the indices of the problems that still run, int64, returns their function: points of shape ``(r, d)`` to
        loss ``(r,)``, gradient ``(r, d)`` and Hessian ``(r, d, d)``.
    start, lower, upper
        Shape ``(p, d)``, float64. A start outside its box is moved to the nearest point of it.
    max_iter
        Most steps for a problem.
    tol
        A problem has converged when a Newton step moves no parameter by as much as this.
    kin
        Shape ``(p,)``, int64, ascending: problems with the same number are one function from several starts. Of those
        that come as close as `meet` in every parameter, only the one of least loss goes on.
    meet
        See `kin`.
    reach
        Longest step of a parameter.
    """
    kin = torch.arange(len(start), device=start.device) if kin is None else kin
    done = Minimum(start.clamp(lower, upper), start.new_full((len(start),), torch.inf), torch.zeros_like(kin).bool())
    evaluate = problems(torch.arange(len(start), device=start.device))
    run = _Run.begin(evaluate, done.x, lower, upper, kin)
    for _ in range(max_iter):
        run.step(evaluate, tol, reach)
        run.drop(_met(run.x, run.loss, run.kin, meet))
        left = torch.nonzero(~run.resting)[:, 0]
        if len(left) <= _SHRINK * len(run.at):
            run.report(done)
            if not len(left):
                return done
            run = run.only(left)
            evaluate = problems(run.at)
    run.report(done)
    return done


@dataclass
class _Run:
    """The problems that still run: all fields are indexed by problem."""

    at: Tensor
    x: Tensor
    loss: Tensor
    gradient: Tensor
    hessian: Tensor
    scale: Tensor
    damping: Tensor
    low: Tensor
    high: Tensor
    kin: Tensor
    resting: Tensor
    dropped: Tensor

    @classmethod
    def begin(cls, evaluate: Function, x: Tensor, low: Tensor, high: Tensor, kin: Tensor) -> _Run:
        loss, gradient, hessian = evaluate(x)
        no = torch.zeros_like(kin).bool()
        at = torch.arange(len(x), device=x.device)
        scale, damping = _curvature(hessian), torch.full_like(loss, 0.1)
        return cls(at, x, loss, gradient, hessian, scale, damping, low, high, kin, no, no)

    def step(self, evaluate: Function, tol: float, reach: float) -> None:
        step, solved = self._newton()
        x = (self.x + step.clamp(-reach, reach)).clamp(self.low, self.high)
        loss, gradient, hessian = evaluate(x)
        moved = (x - self.x).abs().amax(-1)
        promised = (self.gradient * (x - self.x)).sum(-1).abs()
        better = solved & ~self.resting & (loss <= self.loss + SLACK * self.loss.abs())
        arrived = (better & (moved < tol) & (self.damping < DAMPED)) | (promised <= SLACK * (1 + self.loss.abs()))
        self.resting = self.resting | (solved & arrived)
        self.x = torch.where(better[:, None], x, self.x)
        self.loss = torch.where(better, loss, self.loss)
        self.gradient = torch.where(better[:, None], gradient, self.gradient)
        self.hessian = torch.where(better[:, None, None], hessian, self.hessian)
        self.scale = torch.maximum(_curvature(self.hessian), MEMORY * self.scale)
        wilder = (self.damping * WILDER).clamp(min=LEAST, max=MOST)
        self.damping = torch.where(better, self.damping * CALMER, wilder)

    def drop(self, which: Tensor) -> None:
        self.dropped = self.dropped | which
        self.resting = self.resting | which

    def only(self, left: Tensor) -> _Run:
        return _Run(**{field.name: getattr(self, field.name)[left] for field in fields(self)})

    def report(self, done: Minimum) -> None:
        done.x[self.at] = self.x
        done.loss[self.at] = torch.where(self.dropped, torch.inf, self.loss)
        done.converged[self.at] = self.resting & ~self.dropped

    def _newton(self) -> tuple[Tensor, Tensor]:
        """Damped step in the parameters that no bound holds, and whether there is one.

        The damping rises until the damped Hessian is positive definite, which costs no evaluation.
        """
        held = ((self.x <= self.low) & (self.gradient > 0)) | ((self.x >= self.high) & (self.gradient < 0))
        weight = (~held).to(self.x)
        hessian = self.hessian * weight[:, :, None] * weight[:, None, :]
        right = -self.gradient * weight
        step, solved = self._solve(hessian, right, held, slice(None))
        left = torch.nonzero(~solved)[:, 0]
        for _ in range(RAISES):
            if not len(left):
                break
            self.damping[left] = (self.damping[left] * WILDER).clamp(min=LEAST)
            found, definite = self._solve(hessian[left], right[left], held[left], left)
            step[left], solved[left] = found, definite
            left = left[~definite]
        solved &= step.isfinite().all(-1)
        return torch.where(solved[:, None], step, 0.0), solved

    def _solve(self, hessian: Tensor, right: Tensor, held: Tensor, at: Tensor | slice) -> tuple[Tensor, Tensor]:
        diagonal = torch.where(held, 1.0, self.damping[at, None] * self.scale[at])
        solve = solve_batched if hessian.is_cuda else solve_unrolled
        return solve(hessian + torch.diag_embed(diagonal), right)


def first_of_each(owner: Tensor, *keys: Tensor) -> Tensor:
    """The entry of each owner that is least by the first key, of these by the second, and so on.

    Parameters
    ----------
    owner
        Shape ``(p,)``, int64: numbers from 0 on, each of which occurs.
    *keys
        Shape ``(p,)`` each.
    """
    sizes = torch.bincount(owner)
    return _ranked(owner, *keys)[sizes.cumsum(0) - sizes]


def _ranked(*keys: Tensor) -> Tensor:
    """Order by the first key, of equal ones by the second, and so on."""
    order = torch.argsort(keys[-1], stable=True)
    for key in reversed(keys[:-1]):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _met(x: Tensor, loss: Tensor, kin: Tensor, near: float) -> Tensor:
    """Problems that have a kin of less loss close by."""
    order = _ranked(kin, loss)
    x, kin = x[order], kin[order]
    met = torch.zeros_like(kin).bool()
    for apart in range(1, int(torch.bincount(kin).max())):
        related = kin[apart:] == kin[:-apart]
        met[apart:] |= related & ((x[apart:] - x[:-apart]).abs().amax(-1) < near)
    return torch.zeros_like(met).scatter_(0, order, met)


def _curvature(hessian: Tensor) -> Tensor:
    return hessian.diagonal(dim1=-2, dim2=-1).abs() + 1e-8
