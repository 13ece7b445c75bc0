"""Two-sample tests of many groups against one control, from their sufficient statistics, as scanpy defines them."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
import scipy.special
from numpy.typing import NDArray

Array = NDArray[np.float64]


@final
class Moments(NamedTuple):
    """Cells, mean and variance (ddof 1), each broadcast against groups × genes."""

    n: Array
    mean: Array
    variance: Array

    @classmethod
    def of(cls, n: Array, sums: Array, squares: Array) -> Moments:
        """From sums and sums of squares."""
        mean = sums / n
        return cls(n, mean, np.maximum(squares - n * mean**2, 0) / np.maximum(n - 1, 1))


def wilcoxon(u: Array, n: Array, m: float) -> tuple[Array, Array]:
    """Scores and two-sided p of the rank-sum test: normal, no correction for ties or continuity.

    Parameters
    ----------
    u
        Mann and Whitney's U of `n` cells against `m` controls.
    """
    spread = np.sqrt(n * m * (n + m + 1) / 12)
    scores = np.divide(u - n * m / 2, spread, out=np.zeros(np.broadcast(u, spread).shape), where=spread > 0)
    return scores, 2 * scipy.special.ndtr(-np.abs(scores))


def t_test(x: Moments, y: Moments, *, overestimate_variance: bool = False) -> tuple[Array, Array]:
    """Welch's t and its two-sided p; no variance at all is score 0, p 1.

    Parameters
    ----------
    overestimate_variance
        Count the control as no larger than the group (scanpy's ``"t-test_overestim_var"``).
    """
    m = x.n if overestimate_variance else y.n
    of_x, of_y = x.variance / x.n, y.variance / m
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (x.mean - y.mean) / np.sqrt(of_x + of_y)
        freedom = (of_x + of_y) ** 2 / (of_x**2 / (x.n - 1) + of_y**2 / (m - 1))
        p = 2 * scipy.special.stdtr(freedom, -np.abs(t))
    return np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf), np.where(
        np.isnan(p), np.where(np.isinf(t), 0, 1), p
    )


def log_fold_change(mean_x: Array, mean_y: Array, base: float | None = None) -> Array:
    """log2 ratio of the means of log1p data, both taken back by expm1 and raised by 1e-9.

    Parameters
    ----------
    base
        Of the logarithm that the data are in; ``None`` is natural.
    """
    unit = 1.0 if base is None else float(np.log(base))
    result: Array = np.log2((np.expm1(mean_x * unit) + 1e-9) / (np.expm1(mean_y * unit) + 1e-9))
    return result


def benjamini_hochberg(p: Array) -> Array:
    """False discovery rates along the last axis (Benjamini and Hochberg 1995): adjusted p, in the order of `p`.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    n = p.shape[-1]
    order = np.argsort(p, axis=-1)[..., ::-1]
    scaled = np.take_along_axis(p, order, -1) * (n / np.arange(n, 0, -1))
    adjusted = np.empty_like(scaled)
    np.put_along_axis(adjusted, order, np.minimum.accumulate(scaled, axis=-1).clip(max=1), -1)
    return adjusted
