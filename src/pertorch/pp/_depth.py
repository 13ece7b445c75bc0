"""Methods that see a cell's depth: ``poisson``, ``negative_binomial`` and ``binomial``."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.pp import _arguments as arguments
from pertorch.pp._counts import Counts, cell_totals, select
from pertorch.pp._histograms import histograms
from pertorch.pp._setting import Assignment, Setting, notes_on_fits
from pertorch.solvers import FAMILIES, Strata, fit_depth_mixture


def by_depth(
    family: str,
    counts: Counts,
    setting: Setting,
    *,
    posterior_threshold: float,
    max_iter: int = 100,
    tol: float = 1e-4,
) -> Assignment:
    """A mixture of two distributions of counts, given a cell's depth and batch; a cell's posterior decides.

    `posterior_threshold` is the posterior that a cell must reach.
    """
    posterior_threshold = arguments.between(posterior_threshold, "posterior_threshold", 0, 1)
    max_iter, tol = arguments.whole(max_iter, "max_iter"), arguments.between(tol, "tol", 0, float("inf"))
    strata, stratum = _strata(cell_totals(counts), setting)
    n_batches, n_strata = strata.depth.shape
    n_columns = counts.shape[1] * n_batches

    def column(slab: sp.csr_array, cells: slice) -> NDArray[np.int64]:
        """Guide and batch of each entry in one number."""
        return slab.indices.astype(np.int64) * n_batches + np.repeat(setting.batches.codes[cells], np.diff(slab.indptr))

    def value(slab: sp.csr_array, cells: slice) -> NDArray[np.int64]:
        """Count and stratum of each entry in one number."""
        return slab.data.astype(np.int64) * n_strata + np.repeat(stratum[cells], np.diff(slab.indptr))

    found = histograms(counts, setting.device, n_columns=n_columns, column=column, value=value)
    fits = fit_depth_mixture(FAMILIES[family], found, strata, max_iter=max_iter, tol=tol, devices=setting.devices)
    passes = (fits.posterior >= posterior_threshold).cpu().numpy()
    of = np.repeat(np.arange(n_columns), found.offsets.diff().numpy())
    codes = (of << 40 | found.values.cpu().numpy())[passes]  # ascending, as the histograms are
    assigned = select(counts, lambda slab, cells: _among(column(slab, cells) << 40 | value(slab, cells), codes))
    columns = {"intercept": fits.intercept, "effect": fits.effect, "weight": fits.weight, "dispersion": fits.dispersion}
    table = pd.DataFrame({name: v.numpy() for name, v in columns.items()}, index=counts.guides)
    if FAMILIES[family].dispersed is False:
        del table["dispersion"]
    for code, name in enumerate(setting.batches.names):
        table[f"batch_{name}"] = fits.batch[:, code].numpy()
    table["final_loss"] = fits.loss.numpy()
    return Assignment(assigned, table, notes_on_fits(counts.guides, fits.loss.isnan().numpy(), fits.converged.numpy()))


poisson = partial(by_depth, "poisson", posterior_threshold=0.8)
negative_binomial = partial(by_depth, "negative_binomial", posterior_threshold=0.8)
binomial = partial(by_depth, "binomial", posterior_threshold=0.5)


def _strata(depth: NDArray[np.int64], setting: Setting) -> tuple[Strata, NDArray[np.int64]]:
    """Cells by batch and depth, and which stratum of its batch each cell is in."""
    batches = setting.batches
    n_depths = int(depth.max(initial=0)) + 1
    pairs, stratum, cells = np.unique(batches.codes * n_depths + depth, return_inverse=True, return_counts=True)
    batch, depths = np.divmod(pairs, n_depths)
    first = np.searchsorted(batch, np.arange(len(batches.names)))
    place = np.arange(len(pairs)) - first[batch]
    shape = len(batches.names), int(place.max(initial=0)) + 1
    padded = np.zeros((2, *shape))
    padded[:, batch, place] = depths, cells
    return Strata(*torch.from_numpy(padded)), place[stratum]


def _among(codes: NDArray[np.int64], sorted_codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(sorted_codes):
        return np.zeros(len(codes), dtype=bool)
    at = np.searchsorted(sorted_codes, codes)
    return sorted_codes[np.minimum(at, len(sorted_codes) - 1)] == codes
