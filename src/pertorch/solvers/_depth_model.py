"""The posterior of mixtures that see a cell's depth, for some guides, and its maximum.

A cell's density depends on β₀ + γ of its batch, and on what all batches share. So derivatives are taken by these few,
for each batch by itself, and put together: what is added up lies side by side, which fixes the order of every sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from pertorch.solvers._autograd import derivatives
from pertorch.solvers._depth_families import Family, log_sum
from pertorch.solvers._newton import Derivatives, Function, minimize

STARTS = 2
_CUTS = (1, 2, 4, 8, 16, 32)


@final
class Strata(NamedTuple):
    """Cells that no model here can tell apart, but by their count.

    Attributes
    ----------
    depth, cells
        Total count and number of cells of each stratum of each batch, shape ``(b, s)``, float64; a batch with fewer
        than `s` ends in strata without cells.
    """

    depth: Tensor
    cells: Tensor

    def to(self, device: torch.device) -> Strata:
        """The same on `device`."""
        return Strata(self.depth.to(device), self.cells.to(device))


@final
class Entries(NamedTuple):
    """Cells that hold a guide.

    Attributes
    ----------
    counts, stratum, times
        Count, stratum within the batch, and cells of that count and stratum, shape ``(g, b, k)``: float64, int64,
        float64; 0 times is padding.
    """

    counts: Tensor
    stratum: Tensor
    times: Tensor

    @classmethod
    def of(cls, values: Tensor, times: Tensor, n_strata: int) -> Entries:
        """From ``count · n_strata + stratum`` and how often it occurs."""
        count = torch.div(values, n_strata, rounding_mode="floor")
        return cls(torch.where(times > 0, count, 0).double(), values % n_strata, times.double())


@final
class Model:
    """Some guides. A point is ``(β₀, log β₁, logit π, γ₁ …, log θ)``, the last where the family has one."""

    def __init__(self, family: Family, entries: Entries, strata: Strata) -> None:
        self.family, self.strata, self.entries = family, strata, entries
        self.n_batches = len(strata.depth)
        shape = (len(entries.counts), *strata.depth.shape)
        self.depth = strata.depth.expand(shape).gather(2, entries.stratum)
        # Cells of each stratum that do not hold the guide. Whole numbers: their order does not show.
        self.empty = strata.cells.expand(shape).scatter_add(2, entries.stratum, -entries.times)
        self.shift = slice(3, 3 + self.n_batches)
        tail = [3 + self.n_batches] if family.dispersed else []
        self.seen = torch.tensor([0, 1, 2, *tail], device=self.depth.device)  # with γ for 0: what a cell sees
        # Of the normal priors; and which parameters are logs of what has a log-normal one, with its centre at 1.
        variances = [family.intercept_sd**2, 4.0, torch.inf] + [1.0] * (self.n_batches + len(tail))
        self.precision = 1 / torch.tensor(variances).to(self.depth)
        self.log_scale = torch.tensor([0, 1, 0] + [0] * self.n_batches + [1] * len(tail)).to(self.depth)

    def fit(self, max_iter: int, tol: float) -> tuple[Tensor, Tensor]:
        """Columns of the result ``(g, 6 + b)``, and the posterior of each entry ``(g, b, k)``."""
        g = len(self.depth)
        tried = torch.stack([self._start(cut) for cut in _CUTS], 1)
        every = torch.arange(g, device=tried.device)
        with torch.no_grad():
            likelihood = self._likelihood(every)
            losses = [likelihood(self._of_batches(x)).view(g, -1).sum(1) + self._prior(x)[0] for x in tried.unbind(1)]
        chosen = torch.argsort(torch.stack(losses, 1), stable=True)[:, :STARTS]
        guide, start = every.repeat_interleave(STARTS), tried[every[:, None], chosen].flatten(0, 1)
        bound = torch.full_like(start, 40.0)
        bound[:, 1] = 5.0
        found = minimize(
            lambda at: self.function(guide[at]), start, -bound, bound, max_iter=max_iter, tol=tol, kin=guide, reach=1.0
        )
        best = found.loss.view(g, STARTS).argmin(1) + STARTS * every
        x = found.x[best]
        theta = x[:, -1].exp() if self.family.dispersed else torch.full_like(x[:, 0], torch.nan)
        head = [x[:, 0], x[:, 1].exp(), torch.sigmoid(x[:, 2]), theta, found.loss[best], found.converged[best].double()]
        without, has = self._log_terms(self._of_batches(x).view(g, self.n_batches, -1), self.entries.counts, self.depth)
        return torch.cat([torch.stack(head, 1), x[:, self.shift]], 1), torch.sigmoid(has - without)

    def function(self, guides: Tensor) -> Function:
        """Negative log posterior of these guides, a guide as often as it is named, with its derivatives."""
        likelihood = derivatives(self._likelihood(guides))

        def evaluate(x: Tensor) -> Derivatives:
            of_batches = likelihood(self._of_batches(x))
            return self._assemble(x, *(part.unflatten(0, (len(x), self.n_batches)) for part in of_batches))

        return evaluate

    def _of_batches(self, x: Tensor) -> Tensor:
        """What the cells of each batch see of a point, ``(β₀ + γ, log β₁, logit π, …)``: shape ``(r b, p)``."""
        eta = x[:, :1] + x[:, self.shift]
        shared = x[:, None, self.seen[1:]].expand(-1, self.n_batches, -1)
        return torch.cat([eta[:, :, None], shared], 2).flatten(0, 1)

    def _likelihood(self, guides: Tensor) -> Callable[[Tensor], Tensor]:
        """Negative log likelihood of guides in each batch: from ``(r b, p)`` to ``(r b,)``."""
        count, times, depth, empty = (
            v[guides] for v in (self.entries.counts, self.entries.times, self.depth, self.empty)
        )
        none = torch.zeros_like(self.strata.depth)

        def loss(z: Tensor) -> Tensor:
            z = z.unflatten(0, (len(guides), self.n_batches))
            zeros = log_sum(*self._log_terms(z, none, self.strata.depth))
            held = log_sum(*self._log_terms(z, count, depth))
            return -((empty * zeros).sum(-1) + (times * held).sum(-1)).flatten()

        return loss

    def _log_terms(self, z: Tensor, count: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Log density without and with the guide, weights included."""
        eta, effect, logit, *log_theta = z.split(1, -1)
        density, dispersion = self.family.log_density, log_theta[0] if log_theta else None
        without = logsigmoid(-logit) + density(count, depth, eta, dispersion)
        return without, logsigmoid(logit) + density(count, depth, eta + effect.exp(), dispersion)

    def _assemble(self, x: Tensor, loss: Tensor, gradient: Tensor, hessian: Tensor) -> Derivatives:
        """From derivatives of the likelihood in each batch, ``(r, b)``, ``(r, b, p)`` and ``(r, b, p, p)``."""
        prior, d_prior, curvature = self._prior(x)
        slope, bend = torch.zeros_like(x), torch.diag_embed(curvature)
        slope[:, self.seen] = gradient.sum(1)
        slope[:, self.shift] = gradient[..., 0]
        bend[:, self.seen[:, None], self.seen] += hessian.sum(1)
        bend[:, self.seen, self.shift] = hessian[..., 0].mT
        bend[:, self.shift, self.seen] = hessian[:, :, 0]
        bend.diagonal(dim1=1, dim2=2)[:, self.shift] += hessian[..., 0, 0]
        return loss.sum(1) + prior, slope + d_prior, bend

    def _prior(self, x: Tensor) -> Derivatives:
        """Negative log prior, its gradient, and its curvature in each parameter, which do not see each other."""
        away, odds = x - self.log_scale, torch.sigmoid(x[:, 2])
        loss = (self.precision * away**2 / 2 + self.log_scale * x).sum(1) + 9 * softplus(x[:, 2])
        gradient, curvature = self.precision * away + self.log_scale, self.precision.repeat(len(x), 1)
        gradient[:, 2], curvature[:, 2] = 9 * odds, 9 * odds * (1 - odds)
        return loss, gradient, curvature

    def _start(self, cut: int) -> Tensor:
        """As if the cells with more than `cut` of the guide had it, and no other."""
        count, times = self.entries.counts, self.entries.times
        signal = times * (count > cut)
        rest = times - signal
        all_depth = (self.strata.cells * (self.strata.depth + self.family.offset)).sum()
        above = (signal * (self.depth + self.family.offset)).sum((1, 2))
        rate0 = ((rest * count).sum((1, 2)) + 0.5) / (all_depth - above + 1)
        rate1 = ((signal * count).sum((1, 2)) + 0.5) / (above + 1)
        low, high = (self.family.link(rate.clamp(1e-9, 0.999)) for rate in (rate0, rate1))
        share = (signal.sum((1, 2)) + 0.5) / (self.strata.cells.sum() + 1)
        head = [low, (high - low).clamp(min=0.5).log(), torch.logit(share)]
        tail = [torch.zeros_like(low)] * self.n_batches
        if self.family.dispersed:
            tail.append(torch.full_like(low, 1.0))
        return torch.stack([*head, *tail], 1)
