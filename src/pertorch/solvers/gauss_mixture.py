"""Mixtures of two normals on a line, one of which is known: many of them at once, run to convergence."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops import two_normals


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
        odds = two_normals.log_odds(free, self.variance, self.known_mean, self.known_variance)
        return torch.sigmoid(two_normals.quadratic(odds, points))


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
    its start. Here every mixture takes damped Newton steps on the likelihood itself: see
    :func:`pertorch.ops.two_normals.maximize`.

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
    start = torch.stack([torch.zeros_like(mean), mean, spread.log()], 1)
    known = torch.stack([known_mean, known_variance], 1)
    found, n_iter, converged = two_normals.maximize(
        points, inside, known, start, tol=tol, max_iter=max_iter, floor=floor
    )
    logit, mean, log_spread = found.unbind(1)
    return Mixture(torch.sigmoid(logit), mean, floor + log_spread.exp(), known_mean, known_variance, n_iter, converged)
