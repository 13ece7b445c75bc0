"""Fit every guide of a screen at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pertorch.ops.histogram import Histograms
from pertorch.solvers._blocks import map_blocks
from pertorch.solvers._newton import first_of_each
from pertorch.solvers._poisson_gauss import GuideParameters, PoissonGauss, log_odds, parameters
from pertorch.solvers._signal_threshold import Background, Thresholds, thresholds
from pertorch.solvers._splits import starts
from pertorch.solvers.modes import modes

_BLOCK = {"cpu": 5 * 2**17, "cuda": 2**23}  # entries of guides × starts × distinct counts held at once
_STARTS = 10
_ENTRY_BYTES = 1024  # that all starts take for each of a guide's distinct counts


class GuideMixtures(NamedTuple):
    """One entry per guide, float64 on the CPU, NaN for a guide that was not fitted.

    Attributes
    ----------
    parameters
        Background rate, signal mean and standard deviation in log₂ counts, weight of the signal.
    threshold
        Smallest count that is signal; NaN also where no count is.
    loss
        Negative log posterior at the fit, without the constants of the priors.
    converged
        Whether the fit converged, bool.
    ambient
        Whether the posterior alone would have called signal what ambient molecules explain, bool.
    """

    parameters: GuideParameters
    threshold: Tensor
    loss: Tensor
    converged: Tensor
    ambient: Tensor


def fit_guides(
    histograms: Histograms,
    n_cells: int,
    *,
    posterior_threshold: float = 0.5,
    max_iter: int = 90,
    tol: float = 1e-4,
    tick: Callable[[int], object] = lambda _: None,
    devices: Sequence[torch.device] = (),
) -> GuideMixtures:
    """Poisson-Gauss mixture of each guide: its maximum a posteriori from several starts, and its threshold.

    Of a guide's modes, the one of least loss is taken among those in which the signal is more than ambient molecules
    explain (:class:`Background`); where there is none such, the one of least loss.

    Parameters
    ----------
    histograms
        Of the non-zero counts of each guide, on the device that computes.
    n_cells
        Cells in the screen.
    posterior_threshold, max_iter, tol
        See :meth:`pertorch.GuideAssignment.assign_mixture_model`.
    tick
        Called with the number of guides done, as they are done.
    devices
        Among which the guides are divided. Default: that of the histograms.

    Notes
    -----
    Guides seen in fewer than two cells, or never with two counts, are not fitted.
    """
    fittable = torch.nonzero((histograms.total() >= 2) & (histograms.largest() >= 2))[:, 0]
    tick(len(histograms.offsets) - 1 - len(fittable))
    table = torch.full((len(histograms.offsets) - 1, 8), torch.nan, dtype=torch.float64)

    def fit(there: Histograms, guides: Tensor, width: int) -> Tensor:
        fits = _fit_block(*there.padded(guides, width), n_cells, posterior_threshold, max_iter, tol).cpu()
        tick(len(guides))
        return fits

    blocks, devices = list(_blocks(histograms, fittable)), devices or [histograms.values.device]
    widths = [int(histograms.offsets.diff()[guides].max()) for guides in blocks]
    for guides, fits in map_blocks(fit, histograms, blocks, widths, devices, entry_bytes=_ENTRY_BYTES):
        table[guides] = fits
    *estimates, threshold, loss, converged, ambient = table.unbind(1)
    return GuideMixtures(GuideParameters(*estimates), threshold, loss, converged == 1, ambient == 1)


def _blocks(histograms: Histograms, guides: Tensor) -> Iterator[Tensor]:
    """Guides with about as many distinct counts, as many as fit in memory."""
    width = histograms.offsets.diff()[guides]
    order = torch.argsort(width, descending=True, stable=True)
    budget = _BLOCK[histograms.values.device.type]
    start = 0
    while start < len(order):
        stop = start + max(1, budget // (_STARTS * int(width[order[start]])))
        yield guides[order[start:stop]]
        start = stop


def _fit_block(values: Tensor, times: Tensor, n_cells: int, posterior: float, max_iter: int, tol: float) -> Tensor:
    """The columns of the result for guides of padded histograms, shape ``(g, 8)``."""
    model = PoissonGauss(values, times)
    guide, start = starts(model)
    found = modes(model, guide, start, max_iter=max_iter, tol=tol)
    mode = torch.nonzero(found.loss.isfinite())[:, 0]
    guide, loss, estimate = guide[mode], found.loss[mode], parameters(found.x[mode])
    call = calls(model, guide, estimate, n_cells, posterior)
    explained = call.moved | call.threshold.isnan()  # by ambient molecules: such a mode is a guide's last resort
    best = first_of_each(guide, explained.long(), loss)
    columns = [*estimate, call.threshold, loss, found.converged[mode].double(), call.moved.double()]
    return torch.stack([column[best] for column in columns], 1)


def calls(model: PoissonGauss, guide: Tensor, estimate: GuideParameters, n_cells: int, posterior: float) -> Thresholds:
    """Thresholds of guides at given parameters, and whether ambient molecules explain what the posterior calls."""
    ones = torch.where(model.values == 1, model.times, 0).sum(1)
    background = Background((n_cells - model.cells)[guide], ones[guide])
    values, times = model.values[guide], model.times[guide].long()
    return thresholds(lambda count: log_odds(estimate, count), values, times, estimate.mean, background, posterior)
