"""Confidence intervals: from bootstrap replicates, and of a probability."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

Method = Literal["centred", "percentile", "basic"]
METHODS: tuple[str, ...] = get_args(Method)


def bootstrap_interval(replicates: Tensor, level: float, method: str, estimate: Tensor) -> list[Tensor]:
    """Ends of confidence intervals (Davison and Hinkley 1997, chapter 5).

    Parameters
    ----------
    replicates
        Shape ``(p, r)``, float64.
    level
        Share of intervals that are to hold the truth, such as 0.95.
    method
        ``"percentile"``: the quantiles of the replicates. ``"centred"``: these, moved as far as their mean is from the
        estimate. ``"basic"``: twice the estimate less the quantiles, the upper one first.
    estimate
        The statistic of the data themselves, shape ``(p,)``.

    Returns
    -------
    Lower and upper ends, each of shape ``(p,)``; NaN where a replicate is.

    Examples
    --------
    >>> replicates = torch.arange(101, dtype=torch.float64)[None]
    >>> for method in METHODS:
    ...     ends = bootstrap_interval(replicates, 0.9, method, torch.tensor([40]))
    ...     print(method, [round(float(end)) for end in ends])
    centred [-5, 85]
    percentile [5, 95]
    basic [-15, 75]
    """
    ordered = replicates.sort(1).values
    tail = (1 - level) / 2
    lower, upper = _quantile(ordered, tail), _quantile(ordered, 1 - tail)
    if method == "percentile":
        return [lower, upper]
    if method == "centred":
        moved = estimate - replicates.mean(1)
        return [lower + moved, upper + moved]
    return [2 * estimate - upper, 2 * estimate - lower]


def wilson_interval(successes: NDArray[Any], trials: NDArray[Any], level: float) -> list[NDArray[np.float64]]:
    """Ends of confidence intervals of a probability (Wilson 1927): in [0, 1], and of some width even for no success.

    Examples
    --------
    >>> [round(float(end), 3) for end in wilson_interval(np.array(45), np.array(50), 0.95)]
    [0.786, 0.957]
    """
    share, z2 = successes / trials, float(scipy.special.ndtri((1 + level) / 2)) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    return [np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)]


def _quantile(ordered: Tensor, q: float) -> Tensor:
    """Between the two nearest of the ordered values, as numpy does (which torch does only for few of them)."""
    at = q * (ordered.shape[1] - 1)
    below = int(at)
    above = min(below + 1, ordered.shape[1] - 1)
    value = torch.lerp(ordered[:, below], ordered[:, above], at - below)
    return torch.where(ordered[:, -1].isnan(), torch.nan, value)  # NaN is ordered last
