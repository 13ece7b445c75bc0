"""Distributions of a guide's count, given the depth of its cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LogDensity = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # (count, depth, linear predictor, log θ)


def log_sum(a: Tensor, b: Tensor) -> Tensor:
    """``log(exp(a) + exp(b))``; torch.logaddexp has no second derivative where one outweighs the other by far."""
    return a - logsigmoid(a - b)


def _poisson(count: Tensor, depth: Tensor, eta: Tensor, _: Tensor | None) -> Tensor:
    log_mean = eta + torch.log(depth + 1)
    return count * log_mean - log_mean.exp() - torch.lgamma(count + 1)


def _negative_binomial(count: Tensor, depth: Tensor, eta: Tensor, log_theta: Tensor | None) -> Tensor:
    assert log_theta is not None
    log_mean, theta = eta + torch.log(depth + 1), log_theta.exp()
    log_both = log_sum(log_mean, log_theta)
    binomial = torch.lgamma(count + theta) - torch.lgamma(theta) - torch.lgamma(count + 1)
    return binomial + theta * (log_theta - log_both) + count * (log_mean - log_both)


def _binomial(count: Tensor, depth: Tensor, eta: Tensor, _: Tensor | None) -> Tensor:
    choices = torch.lgamma(depth + 1) - torch.lgamma(count + 1) - torch.lgamma(depth - count + 1)
    return choices + count * logsigmoid(eta) + (depth - count) * logsigmoid(-eta)


class Family(NamedTuple):
    """A distribution of counts given depth.

    Attributes
    ----------
    log_density
        Of a count.
    intercept_sd
        Standard deviation of the intercept's prior.
    dispersed
        Whether it has a dispersion θ.
    offset
        Added to a cell's depth where the rate is worked out.
    link
        From a rate to the linear predictor.
    """

    log_density: LogDensity
    intercept_sd: float
    dispersed: bool
    offset: int
    link: Callable[[Tensor], Tensor]


FAMILIES = {
    "poisson": Family(_poisson, 3.0, dispersed=False, offset=1, link=torch.log),
    "negative_binomial": Family(_negative_binomial, 2.0, dispersed=True, offset=1, link=torch.log),
    "binomial": Family(_binomial, 2.0, dispersed=False, offset=0, link=torch.logit),
}
