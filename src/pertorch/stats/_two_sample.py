"""Two-sample tests of many groups against one control, from their sufficient statistics, as scanpy defines them."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import scipy.special
import torch
from torch import Tensor


@final
class Moments(NamedTuple):
    """Cells, mean and variance (ddof 1), each broadcast against groups × genes; float64, on any device."""

    n: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, n: Tensor, sums: Tensor, squares: Tensor) -> Moments:
        """From sums and sums of squares."""
        mean = sums / n
        return cls(n, mean, (squares - n * mean**2).clamp(min=0) / (n - 1).clamp(min=1))


def wilcoxon(u: Tensor, n: Tensor, m: float) -> tuple[Tensor, Tensor]:
    """Scores and two-sided p of the rank-sum test: normal, no correction for ties or continuity.

    Parameters
    ----------
    u
        Mann and Whitney's U of each group against the control, groups × genes, float64.
    n, m
        Cells of each group, broadcast against `u`, and controls.

    Returns
    -------
    z scores and p, as `u`.
    """
    spread = (n * m * (n + m + 1) / 12).sqrt()
    scores = torch.where(spread > 0, (u - n * m / 2) / spread.clamp(min=1e-300), 0.0)
    return scores, torch.special.erfc(scores.abs() / math.sqrt(2))


def t_test(x: Moments, y: Moments, *, overestimate_variance: bool = False) -> tuple[Tensor, Tensor]:
    """Welch's t and its two-sided p; no variance at all is score 0, p 1.

    Parameters
    ----------
    x, y
        The groups and the control.
    overestimate_variance
        Count the control as no larger than the group (scanpy's ``"t-test_overestim_var"``).

    Returns
    -------
    t and p, groups × genes.
    """
    m = x.n if overestimate_variance else y.n
    of_x, of_y = x.variance / x.n, y.variance / m
    t = (x.mean - y.mean) / (of_x + of_y).sqrt()
    freedom = (of_x + of_y) ** 2 / (of_x**2 / (x.n - 1) + of_y**2 / (m - 1))
    # torch has no incomplete beta function.
    p = torch.from_numpy(2 * scipy.special.stdtr(freedom.cpu().numpy(), -t.abs().cpu().numpy())).to(t.device)
    return t.nan_to_num(0.0, math.inf, -math.inf), torch.where(p.isnan(), torch.where(t.isinf(), 0.0, 1.0), p)


def log_fold_change(mean_x: Tensor, mean_y: Tensor, base: float | None = None) -> Tensor:
    """log2 ratio of the means of log1p data, both taken back by expm1 and raised by 1e-9.

    Parameters
    ----------
    mean_x, mean_y
        Means of the groups and of the control, broadcast against one another.
    base
        Of the logarithm that the data are in; ``None`` is natural.
    """
    unit = 1.0 if base is None else math.log(base)
    return torch.log2((torch.expm1(mean_x * unit) + 1e-9) / (torch.expm1(mean_y * unit) + 1e-9))


def benjamini_hochberg(p: Tensor) -> Tensor:
    """False discovery rates along the last axis (Benjamini and Hochberg 1995): adjusted p, in the order of `p`.

    Examples
    --------
    >>> benjamini_hochberg(torch.tensor([0.01, 0.04, 0.03, 0.5], dtype=torch.float64)).numpy().round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    n = p.shape[-1]
    falling, order = p.sort(dim=-1, descending=True)
    scaled = falling * (n / torch.arange(n, 0, -1, dtype=p.dtype, device=p.device))
    return torch.empty_like(p).scatter_(-1, order, scaled.cummin(-1).values.clamp(max=1))
