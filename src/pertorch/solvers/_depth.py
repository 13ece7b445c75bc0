"""Mixtures that see a cell's depth: crispat's ``poisson`` (after SCEPTRE), ``negative_binomial`` and ``binomial``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pertorch.ops.histogram import Histograms
from pertorch.solvers._autograd import derivatives
from pertorch.solvers._newton import Function, minimize

_CUTS = (1, 2, 4, 8, 16, 32)
_STARTS = 2
_BLOCK = {"cpu": 2**20, "cuda": 2**24}

LogDensity = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # (count, depth, linear predictor, log θ)


def _log_sum(a: Tensor, b: Tensor) -> Tensor:
    """``log(exp(a) + exp(b))``; torch.logaddexp has no second derivative where one outweighs the other by far."""
    return a - logsigmoid(a - b)


def _poisson(count: Tensor, depth: Tensor, eta: Tensor, _: Tensor | None) -> Tensor:
    log_mean = eta + torch.log(depth + 1)
    return count * log_mean - log_mean.exp() - torch.lgamma(count + 1)


def _negative_binomial(count: Tensor, depth: Tensor, eta: Tensor, log_theta: Tensor | None) -> Tensor:
    assert log_theta is not None
    log_mean, theta = eta + torch.log(depth + 1), log_theta.exp()
    log_both = _log_sum(log_mean, log_theta)
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


class Strata(NamedTuple):
    """Cells that no model here can tell apart, but by their count.

    Attributes
    ----------
    depth, batch, cells
        Total count, batch and number of cells of each stratum, shape ``(s,)``: float64, int64, float64.
    n_batches
        Number of batches.
    """

    depth: Tensor
    batch: Tensor
    cells: Tensor
    n_batches: int


class DepthMixtures(NamedTuple):
    """One entry per guide, on the CPU, NaN for a guide that was not fitted.

    Attributes
    ----------
    intercept, effect, weight
        β₀, β₁ and the share π of cells that have the guide, float64.
    dispersion
        θ, NaN where the family has none.
    batch
        γ of each batch, shape ``(g, b)``.
    loss
        Negative log posterior, without the constants of the priors.
    converged
        Bool.
    posterior
        Posterior that a cell has the guide, for each entry of the histograms, on their device.
    """

    intercept: Tensor
    effect: Tensor
    weight: Tensor
    dispersion: Tensor
    batch: Tensor
    loss: Tensor
    converged: Tensor
    posterior: Tensor


def fit_depth_mixture(
    family: Family, histograms: Histograms, strata: Strata, *, max_iter: int, tol: float
) -> DepthMixtures:
    """Maximum a posteriori of ``(1 − π) p(x | η) + π p(x | η + β₁)``, η = β₀ + γ_batch, for each guide and all cells.

    Priors, in the space of the parameters themselves: β₀ ~ N(0, 3) (Poisson) or N(0, 2), log β₁ ~ N(1, 2),
    γ ~ N(0, 1), π ~ Beta(1, 10), log θ ~ N(1, 1). Cells without the guide enter by their strata, all at once.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    histograms
        Of each guide, over ``count · n_strata + stratum`` of its non-zero entries.
    strata
        Of all cells.
    max_iter, tol
        See :func:`pertorch.solvers._newton.minimize`.
    """
    n_strata, n_guides = len(strata.cells), len(histograms.offsets) - 1
    seen = (histograms.total() >= 2) & (torch.div(histograms.largest(), n_strata, rounding_mode="floor") >= 2)
    fittable = torch.nonzero(seen)[:, 0]
    table = torch.full((n_guides, 6 + strata.n_batches), torch.nan, dtype=torch.float64)
    posterior = torch.zeros(len(histograms.values), dtype=torch.float64, device=histograms.values.device)
    width = n_strata + int(histograms.offsets.diff().max()) if len(fittable) else 1
    for guides in fittable.split(max(1, _BLOCK[posterior.device.type] // (_STARTS * width))):
        values, times = histograms.padded(guides)
        model = _Model(family, torch.div(values, n_strata, rounding_mode="floor"), values % n_strata, times, strata)
        columns, block = model.fit(max_iter, tol)
        table[guides] = columns.cpu()
        there = times > 0
        start = histograms.offsets[guides].to(posterior.device)[:, None] + torch.arange(values.shape[1]).to(values)
        posterior[start[there]] = block[there]
    intercept, effect, weight, dispersion, loss, converged = table[:, :6].unbind(1)
    return DepthMixtures(intercept, effect, weight, dispersion, table[:, 6:], loss, converged == 1, posterior)


@final
class _Model:
    """Some guides. A point is ``(β₀, log β₁, logit π, γ₁ …, log θ)``, the last where the family has one."""

    def __init__(self, family: Family, count: Tensor, stratum: Tensor, times: Tensor, strata: Strata) -> None:
        self.family, self.strata = family, strata
        self.count, self.stratum, self.times = count.double(), stratum, times.double()
        self.depth, self.batch = strata.depth[stratum], strata.batch[stratum]

    def fit(self, max_iter: int, tol: float) -> tuple[Tensor, Tensor]:
        """Columns of the result ``(g, 6 + b)``, and the posterior of each entry ``(g, k)``."""
        g = len(self.count)
        tried = torch.stack([self._start(cut) for cut in _CUTS], 1)
        every = torch.arange(g, device=tried.device)
        with torch.no_grad():
            losses = torch.stack([self._loss(every)(tried[:, i]) for i in range(len(_CUTS))], 1)
        chosen = torch.argsort(losses, stable=True)[:, :_STARTS]
        guide, start = every.repeat_interleave(_STARTS), tried[every[:, None], chosen].flatten(0, 1)
        bound = torch.full_like(start, 40.0)
        bound[:, 1] = 5.0
        found = minimize(
            lambda at: self._function(guide[at]), start, -bound, bound, max_iter=max_iter, tol=tol, kin=guide, reach=1.0
        )
        best = found.loss.view(g, _STARTS).argmin(1) + _STARTS * every
        x = found.x[best]
        theta = x[:, -1].exp() if self.family.dispersed else torch.full_like(x[:, 0], torch.nan)
        head = [x[:, 0], x[:, 1].exp(), torch.sigmoid(x[:, 2]), theta, found.loss[best], found.converged[best].double()]
        columns = torch.cat([torch.stack(head, 1), x[:, 3 : 3 + self.strata.n_batches]], 1)
        without, has = self._log_terms(x, self.count, self.depth, self.batch)
        return columns, torch.sigmoid(has - without)

    def _function(self, guides: Tensor) -> Function:
        return derivatives(self._loss(guides))

    def _loss(self, guides: Tensor) -> Callable[[Tensor], Tensor]:
        count, depth, batch, times = (v[guides] for v in (self.count, self.depth, self.batch, self.times))
        stratum, strata = self.stratum[guides], self.strata
        # Cells of each stratum that do not hold the guide.
        empty = strata.cells.expand(len(guides), -1).scatter_add(1, stratum, -times)
        none = torch.zeros_like(strata.depth)

        def loss(x: Tensor) -> Tensor:
            zeros = _log_sum(*self._log_terms(x, none, strata.depth, strata.batch))
            held = _log_sum(*self._log_terms(x, count, depth, batch))
            return -((empty * zeros).sum(1) + (times * held).sum(1) + self._log_prior(x))

        return loss

    def _log_terms(self, x: Tensor, count: Tensor, depth: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Log density without and with the guide, weights included."""
        shift = x[:, 3 : 3 + self.strata.n_batches]
        shift = shift.gather(1, batch) if batch.ndim == 2 else shift[:, batch]
        eta, effect, logit = x[:, :1] + shift, x[:, 1:2].exp(), x[:, 2:3]
        log_theta = x[:, -1:] if self.family.dispersed else None
        density = self.family.log_density
        without = logsigmoid(-logit) + density(count, depth, eta, log_theta)
        return without, logsigmoid(logit) + density(count, depth, eta + effect, log_theta)

    def _log_prior(self, x: Tensor) -> Tensor:
        intercept, log_effect, logit = x[:, 0], x[:, 1], x[:, 2]
        out = -((intercept / self.family.intercept_sd) ** 2) / 2 - log_effect - (log_effect - 1) ** 2 / 8
        out = out + 9 * logsigmoid(-logit) - (x[:, 3 : 3 + self.strata.n_batches] ** 2).sum(1) / 2
        return out - x[:, -1] - (x[:, -1] - 1) ** 2 / 2 if self.family.dispersed else out

    def _start(self, cut: int) -> Tensor:
        """As if the cells with more than `cut` of the guide had it, and no other."""
        signal = self.times * (self.count > cut)
        rest = self.times - signal
        depth = self.depth + self.family.offset
        all_depth = (self.strata.cells * (self.strata.depth + self.family.offset)).sum()
        above = (signal * depth).sum(1)
        rate0 = ((rest * self.count).sum(1) + 0.5) / (all_depth - above + 1)
        rate1 = ((signal * self.count).sum(1) + 0.5) / (above + 1)
        low, high = (self.family.link(rate.clamp(1e-9, 0.999)) for rate in (rate0, rate1))
        share = (signal.sum(1) + 0.5) / (self.strata.cells.sum() + 1)
        head = [low, (high - low).clamp(min=0.5).log(), torch.logit(share)]
        tail = [torch.zeros_like(low)] * self.strata.n_batches
        if self.family.dispersed:
            tail.append(torch.full_like(low, 1.0))
        return torch.stack([*head, *tail], 1)
