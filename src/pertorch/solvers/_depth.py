"""Mixtures that see a cell's depth: crispat's ``poisson`` (after SCEPTRE), ``negative_binomial`` and ``binomial``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pertorch.ops.histogram import Histograms
from pertorch.ops.segment import expand
from pertorch.solvers._blocks import map_blocks
from pertorch.solvers._depth_families import Family
from pertorch.solvers._depth_model import STARTS, Entries, Model, Strata

_BLOCK = {"cpu": 2**20, "cuda": 2**24}  # entries of guides × starts held at once
_ENTRY_BYTES = 400  # that derivatives take for each: most of it autograd keeps


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
    family: Family,
    histograms: Histograms,
    strata: Strata,
    *,
    max_iter: int,
    tol: float,
    devices: Sequence[torch.device] = (),
) -> DepthMixtures:
    """Maximum a posteriori of ``(1 − π) p(x | η) + π p(x | η + β₁)``, η = β₀ + γ_batch, for each guide and all cells.

    Priors, in the space of the parameters themselves: β₀ ~ N(0, 3) (Poisson) or N(0, 2), log β₁ ~ N(1, 2),
    γ ~ N(0, 1), π ~ Beta(1, 10), log θ ~ N(1, 1). Cells without the guide enter by their strata, all at once.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    histograms
        Of each guide in each batch, in column ``guide · b + batch``: of ``count · s + stratum``, `s` the strata that a
        batch has at most, over its non-zero entries.
    strata
        Of all cells.
    max_iter, tol
        See :func:`pertorch.solvers._newton.minimize`.
    devices
        Among which the guides are divided. Default: that of the histograms.
    """
    n_batches, n_strata = strata.depth.shape
    counts = torch.div(histograms.largest(), n_strata, rounding_mode="floor").view(-1, n_batches)
    fittable = torch.nonzero((histograms.total().view(-1, n_batches).sum(1) >= 2) & (counts.amax(1) >= 2))[:, 0]
    widest = histograms.offsets.diff().view(-1, n_batches).amax(1)
    table = torch.full((len(counts), 6 + n_batches), torch.nan, dtype=torch.float64)
    posterior = torch.zeros(len(histograms.values), dtype=torch.float64, device=histograms.values.device)
    bounds = histograms.offsets[::n_batches]  # of guides

    def fit(there: Histograms, guides: Tensor, width: int) -> tuple[Tensor, Tensor]:
        columns = guides[:, None] * n_batches + torch.arange(n_batches)
        padded = there.padded(columns.flatten(), width // n_batches - n_strata)
        values, times = (part.view(*columns.shape, -1) for part in padded)
        entries = Entries.of(values, times, n_strata)
        parameters, chances = Model(family, entries, strata.to(there.values.device)).fit(max_iter, tol)
        return parameters.cpu(), chances[entries.times > 0]

    def width(guides: Tensor) -> int:
        return n_batches * (n_strata + int(widest[guides].max()))

    most = _BLOCK[posterior.device.type] // STARTS
    blocks = fittable.split(max(1, most // width(fittable))) if len(fittable) else ()
    widths, devices = [width(block) for block in blocks], devices or [posterior.device]
    found = map_blocks(fit, histograms, blocks, widths, devices, entry_bytes=STARTS * _ENTRY_BYTES)
    for guides, (parameters, chances) in found:
        table[guides] = parameters
        at, _ = expand(bounds[guides], bounds[guides + 1] - bounds[guides])
        posterior[at.to(posterior.device)] = chances.to(posterior.device)
    intercept, effect, weight, dispersion, loss, converged = table[:, :6].unbind(1)
    return DepthMixtures(intercept, effect, weight, dispersion, table[:, 6:], loss, converged == 1, posterior)
