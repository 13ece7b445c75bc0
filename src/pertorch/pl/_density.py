"""Smooth densities of samples of any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

N_BINS = 512


def density(values: NDArray[np.float64], low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel density estimate between two bounds: places and the density there, each of shape ``(512,)``.

    Gaussian kernel, bandwidth by Scott's rule (1992), on binned data: so the time does not grow with the sample but for
    one pass. Values outside of the bounds count in the last bins. Of no values the density is 0.
    """
    width = (high - low) / N_BINS
    places: NDArray[np.float64] = low + width * (np.arange(N_BINS, dtype=np.float64) + 0.5)
    if not len(values):
        return places, np.zeros(N_BINS)
    counts = np.bincount(np.clip((values - low) / width, 0, N_BINS - 1).astype(np.int64), minlength=N_BINS)
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    # A sample without spread is still to be seen: no kernel is narrower than two bins.
    bandwidth = max(spread * len(values) ** -0.2 / width, 2.0)
    return places, gaussian_filter1d(counts / (len(values) * width), bandwidth, mode="constant")


def drawn(values: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The values that are shown as dots: all, or so many of them at random."""
    return values if len(values) <= most else rng.choice(values, most, replace=False)


def bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where densities of these values are drawn: all but the last thousandth at each end, and a margin."""
    low, high = np.quantile(values, [0.001, 0.999])
    margin = 0.2 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
