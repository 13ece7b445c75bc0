"""Mixtures of a guide's counts, fitted to histograms: ``poisson_gauss`` and ``gauss``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.exec import progress_bar
from pertorch.pp import _arguments as arguments
from pertorch.pp._counts import Counts, above, select
from pertorch.pp._histograms import histograms
from pertorch.pp._setting import Assignment, Setting, notes_on_fits
from pertorch.solvers import fit_gauss, fit_guides


def poisson_gauss(
    counts: Counts, setting: Setting, *, posterior_threshold: float = 0.5, max_iter: int = 90, tol: float = 1e-4
) -> Assignment:
    """Poisson background and Gaussian signal on log₂ counts: see ``assign_mixture_model``."""
    posterior_threshold = arguments.between(posterior_threshold, "posterior_threshold", 0, 1)
    max_iter, tol = arguments.whole(max_iter, "max_iter"), arguments.between(tol, "tol", 0, float("inf"))
    n_cells, n_guides = counts.shape
    with progress_bar(lambda: n_guides, "guide mixtures", setting.show_progress, unit="guides") as bar:
        fits = fit_guides(
            histograms(counts, setting.device),
            n_cells,
            posterior_threshold=posterior_threshold,
            max_iter=max_iter,
            tol=tol,
            tick=bar.update,
            devices=setting.devices,
        )
    rate, mean, std, weight = (value.numpy() for value in fits.parameters)
    columns = {  # as both peers name them
        "poisson_rate": rate,
        "gaussian_mean": mean,
        "gaussian_std": std,
        "mix_probs_0": 1 - weight,
        "mix_probs_1": weight,
        "threshold": fits.threshold.numpy(),
        "final_loss": fits.loss.numpy(),
    }
    notes = notes_on_fits(counts.guides, fits.loss.isnan().numpy(), fits.converged.numpy())
    return Assignment(above(counts, fits.threshold.numpy()), pd.DataFrame(columns, index=counts.guides), notes)


def gauss(
    counts: Counts, setting: Setting, *, nonzero: bool = False, max_iter: int = 200, tol: float = 1e-6
) -> Assignment:
    """Two Gaussians of one width on log₁₀(count + 1) of all cells, or of those that hold the guide; in each batch."""
    max_iter, tol = arguments.whole(max_iter, "max_iter"), arguments.between(tol, "tol", 0, float("inf"))
    batches, n_guides = setting.batches, counts.shape[1]
    found = histograms(
        counts,
        setting.device,
        n_columns=n_guides * len(batches.names),
        column=lambda slab, cells: _column(slab, batches.codes[cells], n_guides),
    )
    zeros = batches.sizes.repeat_interleave(n_guides) - found.total()
    fits = fit_gauss(found, None if nonzero else zeros, max_iter=max_iter, tol=tol, devices=setting.devices)
    threshold = fits.threshold.numpy()
    assigned = select(counts, lambda slab, cells: slab.data >= threshold[_column(slab, batches.codes[cells], n_guides)])
    table = pd.DataFrame({name: value.numpy() for name, value in zip(fits._fields, fits, strict=True)})
    table.insert(0, "guide", np.tile(counts.guides, len(batches.names)))
    table.insert(1, "batch", np.repeat(np.array(batches.names, dtype=object), n_guides))
    names = pd.Index(table["guide"] + ("" if len(batches.names) == 1 else " in " + table["batch"].astype(str)))
    notes = notes_on_fits(names, fits.loss.isnan().numpy(), fits.converged.numpy())
    return Assignment(assigned, table.rename(columns={"loss": "final_loss"}), notes)


def _column(slab: sp.csr_array, batch: NDArray[np.int64], n_guides: int) -> NDArray[np.int64]:
    """Guide and batch of each entry in one number."""
    return slab.indices + n_guides * np.repeat(batch, np.diff(slab.indptr))
