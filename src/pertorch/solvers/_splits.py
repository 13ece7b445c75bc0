"""Where to start: a guide's counts cut in two, once in each octave."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.solvers._poisson_gauss import GuideParameters, PoissonGauss, log_floor, log_prior, point

_OCTAVES = (1, 2, 3, 5, 9, 17, 33, 65)  # smallest count of the signal: in (1, 2], (2, 3], (3, 5], …, above 65


def starts(model: PoissonGauss) -> tuple[Tensor, Tensor]:
    """Points to start from, and the guide of each.

    If every cell below some count were background and every other signal, the best parameters and their posterior
    would follow in closed form from running sums over the histogram. In each octave the best such cut is taken, so
    that every mode has a start near it. The best of them starts once more with half its width, since the same cells can
    have a narrow mode inside a wide one. Where nothing can be cut the prior gives the start. Nothing is random.

    Returns
    -------
    Guides ``(p,)``, int64, ascending, and points ``(p, 4)``.
    """
    y, times = model.y, model.times
    below = [(times * y**power).cumsum(1) for power in range(3)]
    above = [sums[:, -1:] - sums for sums in below]
    split = _fit(below, above, model.cells[:, None])
    loss = _loss(split, below, above, (times * model.log_factorial).cumsum(1))
    first_signal = torch.roll(model.values, -1, 1)
    possible = (times > 0) & (above[0] > 0)
    every = torch.arange(len(y), device=y.device)
    uncut = every[~possible.any(1)]
    guides, points = [uncut], [_prior(model.cells[uncut])]
    for low, high in zip(_OCTAVES, (*_OCTAVES[1:], torch.inf), strict=True):
        cost = torch.where(possible & (first_signal > low) & (first_signal <= high), loss, torch.inf)
        best = cost.argmin(1)
        there = every[cost[every, best] < torch.inf]
        guides.append(there)
        points.append(point(GuideParameters(*(value[there, best[there]] for value in split))))
    cut = every[possible.any(1)]
    best = torch.where(possible, loss, torch.inf).argmin(1)[cut]
    guides.append(cut)
    points.append(point(_narrowed(GuideParameters(*(value[cut, best] for value in split)))))
    guide = torch.cat(guides)
    order = torch.argsort(guide, stable=True)
    return guide[order], torch.cat(points)[order]


def _fit(below: list[Tensor], above: list[Tensor], cells: Tensor) -> GuideParameters:
    """GuideParameters of each cut: maximum a posteriori, but for σ, which a start needs only roughly."""
    n_above = above[0].clamp(min=1)
    mean = (above[1] + 0.75) / (n_above + 0.25)
    spread = (above[2] - 2 * mean * above[1] + mean**2 * above[0]).clamp(min=0)
    std = torch.maximum(torch.sqrt((spread + 1) / (n_above + 1)), 1.05 * log_floor(mean).exp())
    rate = _rate(below[0], below[1])
    weight = ((above[0] - 0.9) / (cells - 1).clamp(min=1)).clamp(1 / (cells + 1), 1 - 1 / (cells + 1))
    return GuideParameters(rate, mean, std, weight)


def _loss(p: GuideParameters, below: list[Tensor], above: list[Tensor], log_factorial: Tensor) -> Tensor:
    """Negative log posterior of a cut as if it were known which cell is which, up to a constant."""
    log_std, log_rate = p.std.log(), p.rate.log()
    spread = above[2] - 2 * p.mean * above[1] + p.mean**2 * above[0]
    background = below[0] * (torch.log1p(-p.weight) - p.rate) + below[1] * log_rate - log_factorial
    # log √(2π), to as many digits as choosing a start needs
    signal = above[0] * (p.weight.log() - log_std - 0.9189) - spread / (2 * p.std**2)
    return -(background + signal + log_prior(log_rate, p.mean, log_std))


def _rate(cells: Tensor, total: Tensor) -> Tensor:
    """Maximum a posteriori of a background's rate: the root of total − cells · λ − 1 − log λ."""
    log_rate = torch.log((total + 0.05) / (cells + 1))
    for _ in range(6):  # Newton's method on a concave function that falls, from wherever it begins
        expected = cells * log_rate.exp()
        log_rate = log_rate + (total - expected - 1 - log_rate) / (expected + 1)
    return log_rate.exp()


def _narrowed(p: GuideParameters) -> GuideParameters:
    return p._replace(std=torch.maximum(p.std / 2, 1.05 * log_floor(p.mean).exp()))


def _prior(cells: Tensor) -> Tensor:
    one = torch.ones_like(cells)
    return point(GuideParameters(0.3 * one, 3 * one, 2 * one, 0.1 * one))
