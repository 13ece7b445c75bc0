"""Two Gaussians of one width on log₁₀(count + 1): crispat's ``gauss``, after Cell Ranger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pertorch.ops.histogram import Histograms
from pertorch.solvers._blocks import map_blocks
from pertorch.solvers._moments import posterior_moments
from pertorch.solvers._newton import Derivatives, first_of_each, minimize

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_LOG_FLOOR = math.log(0.01)  # narrower than the gap between any counts below 40: the prior alone would allow a point
_OCTAVES = (0, 1, 2, 4, 8, 16, 32, 64)  # smallest count of the signal: above 0, 1, …
_STARTS = 2 * len(_OCTAVES)
_BLOCK = 2**20  # entries of columns × starts held at once
_ENTRY_BYTES = 128 * _STARTS


class GaussMixtures(NamedTuple):
    """One entry per column, float64 on the CPU, NaN where nothing was fitted.

    Attributes
    ----------
    low, high
        The means, in log₁₀(count + 1).
    std
        Their common standard deviation.
    weight
        Of the higher one.
    threshold
        The smallest count that is more likely of the higher one; NaN also where no cell has it.
    loss
        Negative log posterior, without the constants of the priors.
    converged
        Bool.
    """

    low: Tensor
    high: Tensor
    std: Tensor
    weight: Tensor
    threshold: Tensor
    loss: Tensor
    converged: Tensor


def fit_gauss(
    histograms: Histograms,
    zeros: Tensor | None,
    *,
    max_iter: int,
    tol: float,
    devices: Sequence[torch.device] = (),
) -> GaussMixtures:
    """Maximum a posteriori of ``w₀ N(y; μ₀, σ) + w₁ N(y; μ₁, σ)`` at y = log₁₀(count + 1), for each column.

    Priors, in the space of the parameters themselves: w ~ Dirichlet(0.99, 0.01), μ ~ N(1, 2), log σ ~ N(−3, 2).

    Parameters
    ----------
    histograms
        Of non-zero counts.
    zeros
        Cells of each column that hold nothing, shape ``(k,)``; ``None`` fits the non-zero counts alone.
    max_iter, tol
        See :func:`pertorch.solvers._newton.minimize`.
    devices
        Among which the columns are divided. Default: that of the histograms.
    """
    table = torch.full((len(histograms.offsets) - 1, 7), torch.nan, dtype=torch.float64)
    fittable = torch.nonzero((histograms.total() >= 2) & (histograms.largest() >= 2))[:, 0]

    def fit(there: Histograms, columns: Tensor, width: int) -> Tensor:
        values, times = there.padded(columns, width)
        if zeros is not None:
            none = zeros[columns][:, None].to(times)
            values, times = torch.cat([torch.zeros_like(none), values], 1), torch.cat([none, times], 1)
        return _fit_block(values, times.double(), max_iter, tol).cpu()

    sizes, devices = histograms.offsets.diff(), devices or [histograms.values.device]
    blocks = fittable.split(max(1, _BLOCK // (_STARTS * (int(sizes.max()) + 1)))) if len(fittable) else ()
    widths = [int(sizes[block].max()) for block in blocks]
    for columns, fits in map_blocks(fit, histograms, blocks, widths, devices, entry_bytes=_ENTRY_BYTES):
        table[columns] = fits
    low, high, std, weight, threshold, loss, converged = table.unbind(1)
    return GaussMixtures(low, high, std, weight, threshold, loss, converged == 1)


def _fit_block(values: Tensor, times: Tensor, max_iter: int, tol: float) -> Tensor:
    y, cells = torch.log10(values.double() + 1), times.sum(1)
    column, start = _starts(values, y, times)
    edge = torch.log((cells - 1).clamp(min=1 + 1e-9))[column]
    low = torch.stack([torch.full_like(edge, -1.0), torch.full_like(edge, -1.0), 0 * edge + _LOG_FLOOR, -edge], -1)
    high = torch.stack([torch.full_like(edge, 12.0), torch.full_like(edge, 12.0), 0 * edge + 3, edge], -1)
    found = minimize(
        lambda at: _Rows(y[column[at]], times[column[at]]),
        start, low, high, max_iter=max_iter, tol=tol, kin=column, reach=1.0,
    )  # fmt: skip
    best = first_of_each(column, found.loss)
    mu0, mu1, log_std, logit = found.x[best].unbind(-1)
    swapped = mu0 > mu1
    mu0, mu1, logit = torch.minimum(mu0, mu1), torch.maximum(mu0, mu1), torch.where(swapped, -logit, logit)
    variance = (2 * log_std).exp()
    crossing = (mu0 + mu1) / 2 - logit * variance / (mu1 - mu0)
    threshold = (torch.floor(10**crossing - 1 + 1e-12) + 1).clamp(min=1)
    threshold = torch.where((mu1 > mu0) & (threshold <= values.amax(1)), threshold, torch.nan)
    columns = [mu0, mu1, log_std.exp(), torch.sigmoid(logit), threshold, found.loss[best]]
    return torch.stack([*columns, found.converged[best].double()], 1)


@final
class _Rows:
    """Negative log posterior at ``(μ₀, μ₁, log σ, logit w₁)``, with its derivatives."""

    def __init__(self, y: Tensor, times: Tensor) -> None:
        self.basis = torch.stack([torch.ones_like(y), y, y * y], -1)
        self.weighted = self.basis * times[..., None]
        self.total = self.weighted.sum(1)

    def __call__(self, x: Tensor) -> Derivatives:
        """See :func:`pertorch.solvers._newton.minimize`."""
        mu0, mu1, log_std, logit = x.unbind(-1)
        precision, log_w0, log_w1 = (-2 * log_std).exp(), logsigmoid(-logit), logsigmoid(logit)
        slope = (mu1 - mu0) * precision
        odds = (logit - slope * (mu0 + mu1) / 2)[:, None] + slope[:, None] * self.basis[..., 1]
        r, q, evidence = posterior_moments(odds[:, None], self.weighted)
        cells, rest = self.total[:, 0], self.total - r
        (score0, square0), (score1, square1) = _about(rest, mu0, precision), _about(r, mu1, precision)
        likelihood = cells * (log_w0 - log_std - _LOG_SQRT_2PI) - _about(self.total, mu0, precision)[1] / 2 + evidence
        prior = -((mu0 - 1) ** 2 + (mu1 - 1) ** 2) / 8 - log_std - (log_std + 3) ** 2 / 8
        w0, w1 = log_w0.exp(), log_w1.exp()
        gradient = torch.stack(
            [
                score0 - (mu0 - 1) / 4,
                score1 - (mu1 - 1) / 4,
                square0 + square1 - cells - 1 - (log_std + 3) / 4,
                r[:, 0] - cells * w1 + 0.01 * w1 - 0.99 * w0,
            ],
            -1,
        )
        delta = _score_differences(mu0, mu1, precision)
        hessian = delta @ torch.stack([q[:, :2], q[:, 1:]], -2) @ delta.transpose(-1, -2)
        hessian[:, 0, 0] -= rest[:, 0] * precision + 0.25
        hessian[:, 1, 1] -= r[:, 0] * precision + 0.25
        hessian[:, 2, 2] -= 2 * (square0 + square1) + 0.25
        hessian[:, 3, 3] -= (cells - 1) * w0 * w1
        for k, score in enumerate((score0, score1)):
            hessian[:, k, 2] -= 2 * score
            hessian[:, 2, k] -= 2 * score
        return -(likelihood + prior - 0.01 * log_w0 - 0.99 * log_w1), -gradient, -hessian


def _score_differences(mu0: Tensor, mu1: Tensor, precision: Tensor) -> Tensor:
    """Score of the higher less the lower one in (μ₀, μ₁, log σ, logit w₁), polynomials in y: shape ``(p, 4, 2)``."""
    slope, zero, one = (mu1 - mu0) * precision, torch.zeros_like(mu0), torch.ones_like(mu0)
    return torch.stack(
        [
            torch.stack([mu0 * precision, -precision], -1),
            torch.stack([-mu1 * precision, precision], -1),
            torch.stack([slope * (mu0 + mu1), -2 * slope], -1),
            torch.stack([one, zero], -1),
        ],
        -2,
    )


def _about(moments: Tensor, mean: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """First and second moment about a mean, over the variance."""
    m0, m1, m2 = moments.unbind(-1)
    return (m1 - mean * m0) * precision, (m2 - 2 * mean * m1 + mean**2 * m0) * precision


def _starts(values: Tensor, y: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Each column cut at each octave that leaves cells on both sides: column, ascending, and point ``(p, 4)``."""
    cells = times.sum(1)
    columns, points = [], []
    for bound in _OCTAVES:
        above = times * (values > bound)
        below = times - above
        there = (above.sum(1) > 0) & (below.sum(1) > 0) if bound else above.sum(1) > 0
        mu0, mu1 = (((w * y).sum(1)) / w.sum(1).clamp(min=1) for w in (below, above))
        square = (below * (y - mu0[:, None]) ** 2 + above * (y - mu1[:, None]) ** 2).sum(1)
        std = torch.sqrt((square + 0.01) / (cells + 1)).clamp(min=0.02)
        share = (above.sum(1) / cells).clamp(0.5 / cells, 1 - 0.5 / cells)
        logit = torch.logit(share)
        for point in ([mu0, mu1, std.log(), logit], [mu1, mu0, std.log(), -logit]):  # the prior tells them apart
            columns.append(torch.nonzero(there)[:, 0])
            points.append(torch.stack(point, -1)[there])
    column = torch.cat(columns)
    order = torch.argsort(column, stable=True)
    return column[order], torch.cat(points)[order]
