"""Mixscape and mixscale as their papers say them, for one target at a time, in float64 numpy."""

from __future__ import annotations

import numpy as np
import scipy.stats

from .test_gauss_mixture import expectation_maximisation


def markers(x, y, logfc_threshold=0.25, pval_cutoff=0.05):
    """Genes that pass the rank-sum test of target against control cells, and their p."""
    n, m = len(x), len(y)
    ranks = scipy.stats.rankdata(np.concatenate([x, y]), axis=0)[:n].sum(0)
    z = (ranks - n * (n + m + 1) / 2) / np.sqrt(n * m * (n + m + 1) / 12)
    p = 2 * scipy.stats.norm.sf(np.abs(z))
    lfc = np.log2((np.expm1(x.mean(0)) + 1e-9) / (np.expm1(y.mean(0)) + 1e-9))
    return np.flatnonzero((np.abs(lfc) >= logfc_threshold) & (scipy.stats.false_discovery_control(p) < pval_cutoff)), p


def scaled(cells, controls, clip=None):
    both = np.concatenate([cells, controls])
    spread = both.std(0, ddof=1)
    both = (both - both.mean(0)) / np.where(spread > 0, spread, 1)
    both = both if clip is None else np.minimum(both, clip)
    return both[: len(cells)], both[len(cells) :]


def classify(cells, controls, iter_num=10, min_cells=5, scale=True, with_controls=True):
    """Calls, posterior, first projection of cells and of controls."""
    x, y = scaled(cells, controls) if scale else (cells, controls)
    perturbed, first = np.ones(len(x), dtype=bool), None
    for _ in range(iter_num):
        v = x[perturbed].mean(0) - y.mean(0)
        t, c = x @ v / (v @ v), y @ v / (v @ v)
        first = (t, c) if first is None else first
        fit = expectation_maximisation(
            np.concatenate([c, t]) if with_controls else t,
            c.mean(),
            c.var(ddof=1),
            t[perturbed].mean(),
            t[perturbed].var(ddof=1),
        )
        posterior = fit[-1][-len(t) :]
        before, perturbed = perturbed, posterior > 0.5
        if perturbed.sum() < min_cells:
            return np.zeros(len(x), dtype=bool), posterior, first
        if (before == perturbed).all():
            break
    return perturbed, posterior, first


def scores(cells, controls, clip=None, scale=True):
    """Mixscale: cells, and the controls on the same line."""
    x, y = scaled(cells, controls, clip) if scale else (cells, controls)
    v = x.mean(0) - y.mean(0)
    t, c = x @ v / (v @ v), y @ v / (v @ v)
    return (t - c.mean()) / c.std(ddof=1), (c - c.mean()) / c.std(ddof=1)
