"""Maximum likelihood of the size of a negative binomial with known mean, many fits at once, from survival counts.

Of the likelihood only ``Σ_i [lnΓ(x_i + r) − lnΓ(r)] = Σ_j S_j ln(r + j)`` needs the data, where ``S_j`` counts the
cells with more than j. It is a sum over distinct values, not over cells, and it loses no digits where r is large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.segment import expand, ragged_sum

LONGEST = 32  # a stretch of j over which S does not change is summed term by term up to here, beyond in closed form
Function = Callable[[Tensor], Tensor]
STEPS, TOLERANCE = 100, 1e-7  # of Newton's method on ln r: a step below that leaves an error of its square


@final
class Survival(NamedTuple):
    """Survival function of the counts of each fit, stretch by stretch.

    Attributes
    ----------
    start, length
        Each stretch is ``start ≤ j < start + length``, float64: shape ``(s,)``.
    cells
        Cells with more than j over that stretch, float64.
    lengths
        Stretches of each fit, shape ``(f,)``: 0 where all counts are 0.
    """

    start: Tensor
    length: Tensor
    cells: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, values: Tensor, at_least: Tensor, lengths: Tensor) -> Survival:
        """From the distinct values of each fit, ascending, and the number of cells with at least that value."""
        previous = torch.cat([values.new_zeros(1), values[:-1]])
        previous[(lengths.cumsum(0) - lengths)[lengths > 0]] = 0
        gap = values - previous
        pieces = torch.where(gap <= LONGEST, gap, 1).long()
        within, run = expand(torch.zeros_like(pieces), pieces)
        length = torch.where(gap <= LONGEST, 1, gap)[run]
        return cls(previous[run] + within, length, at_least[run].double(), _totals(pieces, lengths))

    def select(self, fits: Tensor) -> tuple[Survival, Tensor]:
        """These fits, in this order, repeats allowed; and to which of them each stretch belongs."""
        at, fit = expand((self.lengths.cumsum(0) - self.lengths)[fits], self.lengths[fits])
        return Survival(self.start[at], self.length[at], self.cells[at], self.lengths[fits]), fit

    def log_rising(self, size: Tensor) -> Tensor:
        """``Σ_i [lnΓ(x_i + r) − lnΓ(r)]`` of each fit; `size` is r for each stretch."""
        return self._sum(size, torch.log, torch.lgamma)

    def slopes(self, size: Tensor) -> tuple[Tensor, Tensor]:
        """First and second derivative of :meth:`log_rising` by r."""
        first = self._sum(size, torch.reciprocal, torch.digamma)
        second = self._sum(size, lambda x: -x.reciprocal().square_(), lambda x: torch.polygamma(1, x))
        return first, second

    def _sum(self, size: Tensor, term: Function, antidifference: Function) -> Tensor:
        low = size + self.start
        terms = term(low)
        long = torch.nonzero(self.length > 1)[:, 0]
        if len(long):
            terms[long] = antidifference(low[long] + self.length[long]) - antidifference(low[long])
        return ragged_sum(terms.mul_(self.cells), self.lengths)


def fit_size(survival: Survival, n: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Size r of each fit: the root of the likelihood's slope.

    There is one, and one only, where the variance (ddof 0) exceeds the mean (Levin and Reeds 1977). Newton's
    method on ln r, kept between the values at which the slope was last positive and negative.

    Parameters
    ----------
    survival
        Counts of each fit.
    n, mean, variance
        Cells, mean and variance (ddof 0) of each fit, shape ``(f,)``, ``variance > mean > 0``.
    """
    out = (mean.square() / (variance - mean)).log_()  # by moments
    low, high = torch.full_like(out, -torch.inf), torch.full_like(out, torch.inf)
    active = torch.arange(len(out), device=out.device)
    data, fit = survival.select(active)
    for _ in range(STEPS):
        theta, mu, cells = out[active], mean[active], n[active]
        r = theta.exp()
        first, second = data.slopes(r[fit])
        slope = r * (first - cells * torch.log1p(mu / r))
        curve = slope + r.square() * second + cells * mu * r / (r + mu)
        low[active] = torch.where(slope > 0, theta, low[active])
        high[active] = torch.where(slope < 0, theta, high[active])
        moved = theta + torch.where(curve < 0, -slope / curve, torch.sign(slope)).clamp_(-3, 3)
        outside = (slope != 0) & ((moved <= low[active]) | (moved >= high[active]))
        out[active] = moved = torch.where(outside, (low[active] + high[active]) / 2, moved)
        going = (moved - theta).abs() > TOLERANCE
        n_going = int(going.sum())
        if not n_going:
            break
        if 2 * n_going < len(active):  # the others stay where they are, at no great cost
            active = active[going]
            data, fit = survival.select(active)
    return out.exp_()


def _totals(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum of each run of integers."""
    ends = torch.cat([values.new_zeros(1), values.cumsum(0)])
    stop = lengths.cumsum(0)
    return ends[stop] - ends[stop - lengths]
