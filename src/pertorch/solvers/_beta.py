"""Mixtures of two or three Beta densities on the share of a cell's largest guide: crispat's ``2beta`` and ``3beta``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pertorch.solvers._autograd import derivatives
from pertorch.solvers._newton import minimize

_CLIP = 1e-4  # a Beta density is 0 or infinite at the ends of the interval


class _Prior(NamedTuple):
    """Dirichlet exponents of the weights, and where α and β start, signal last; the grid that the threshold is on."""

    weights: tuple[float, ...]
    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    grid_from: float


_PRIORS = {
    2: _Prior((0.6, 0.4), (1.0, 10.0), (10.0, 1.0), 0.01),
    3: _Prior((0.3, 0.3, 0.4), (1.0, 10.0, 10.0), (10.0, 10.0, 1.0), 0.5),
}


class BetaMixture(NamedTuple):
    """Weights, α and β of each component, signal last, shape ``(c,)``; and where the signal begins."""

    weight: Tensor
    alpha: Tensor
    beta: Tensor
    threshold: float
    loss: float
    converged: bool


def fit_beta(shares: Tensor, times: Tensor, n_components: int, *, max_iter: int, tol: float) -> BetaMixture:
    """Maximum a posteriori of a Beta mixture, in the mode that crispat's start leads to.

    Priors, in the space of the parameters themselves: weights ~ Dirichlet(0.6, 0.4) or (0.3, 0.3, 0.4), log α and
    log β ~ N(1, 1). The components are told apart by where they start: low shares first, shares near 1 last. The
    threshold is the first share on a grid of hundredths (from 0.5 for three components) at which the last component
    is the likeliest.

    Parameters
    ----------
    shares, times
        Distinct shares, and cells with each, shape ``(k,)``.
    n_components
        2 or 3.
    max_iter, tol
        See :func:`pertorch.solvers._newton.minimize`.
    """
    prior, c = _PRIORS[n_components], n_components
    shares, times = shares.double().clamp(_CLIP, 1 - _CLIP), times.double()
    exponent, alpha, beta = (shares.new_tensor(values) for values in prior[:3])
    start = torch.cat([alpha.log(), beta.log(), (exponent[1:] / exponent[0]).log()])[None]
    log_share, log_rest = shares.log(), torch.log1p(-shares)

    def loss(x: Tensor) -> Tensor:
        log_weight, density = _log_terms(x, c, log_share, log_rest)
        likelihood = (times * torch.logsumexp(log_weight[..., None] + density, 1)).sum(-1)
        log_shape = x[:, : 2 * c]
        shape_prior = -(log_shape + (log_shape - 1) ** 2 / 2).sum(-1)
        return -(likelihood + shape_prior + ((exponent - 1) * log_weight).sum(-1))

    edge = float(torch.log(times.sum().clamp(min=2)))
    bound = shares.new_tensor([12.0] * (2 * c) + [edge] * (c - 1))[None]
    found = minimize(lambda _: derivatives(loss), start, -bound, bound, max_iter=max_iter, tol=tol, reach=1.0)
    grid = torch.arange(round(100 * prior.grid_from), 100).to(shares) / 100
    log_weight, density = _log_terms(found.x, c, grid.log(), torch.log1p(-grid))
    likeliest = (log_weight[..., None] + density)[0].argmax(0) == c - 1
    threshold = float(grid[likeliest][0]) if bool(likeliest.any()) else float("nan")
    shape = found.x[0, : 2 * c].exp()
    return BetaMixture(
        log_weight[0].exp(), shape[:c], shape[c:], threshold, float(found.loss[0]), bool(found.converged[0])
    )


def _log_terms(x: Tensor, c: int, log_share: Tensor, log_rest: Tensor) -> tuple[Tensor, Tensor]:
    """Log weights ``(r, c)`` and log densities ``(r, c, k)``; the first weight is the reference of the others."""
    alpha, beta = x[:, :c, None].exp(), x[:, c : 2 * c, None].exp()
    normaliser = torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta)
    density = normaliser + (alpha - 1) * log_share + (beta - 1) * log_rest
    return torch.log_softmax(torch.cat([torch.zeros_like(x[:, :1]), x[:, 2 * c :]], 1), 1), density
