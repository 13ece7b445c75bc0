"""The Poisson-Gauss mixture: from counts to an assignment."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import pandas as pd
import scipy.sparse as sp
import torch

from pertorch.exec import progress_bar
from pertorch.pp._counts import Counts, above
from pertorch.pp._histograms import histograms
from pertorch.solvers import GuideMixtures, fit_guides

_NAMED = 20


class MixtureOptions(NamedTuple):
    """See :meth:`pertorch.GuideAssignment.assign_mixture_model`."""

    posterior_threshold: float = 0.5
    max_iter: int = 90
    tol: float = 1e-4


def assign_by_mixture(
    counts: Counts, options: MixtureOptions, device: torch.device, *, show_progress: bool | None
) -> tuple[sp.csr_array, pd.DataFrame]:
    """Which guides each cell has, int8, and a row for each guide: its fit, as both peers name the columns."""
    found = histograms(counts, device)
    with progress_bar(counts.matrix.shape[1], "guides", show_progress) as bar:
        fits = fit_guides(found, counts.matrix.shape[0], **options._asdict(), tick=bar.update)
    _warn(counts.guides, fits)
    return above(counts, fits.threshold.numpy()), _table(fits, counts.guides)


def _table(fits: GuideMixtures, guides: pd.Index) -> pd.DataFrame:
    rate, mean, std, weight = (value.numpy() for value in fits.parameters)
    columns = {
        "poisson_rate": rate,
        "gaussian_mean": mean,
        "gaussian_std": std,
        "mix_probs_0": 1 - weight,
        "mix_probs_1": weight,
        "threshold": fits.threshold.numpy(),
        "final_loss": fits.loss.numpy(),
    }
    return pd.DataFrame(columns, index=guides)


def _warn(guides: pd.Index, fits: GuideMixtures) -> None:
    skipped = fits.loss.isnan().numpy()
    for which, why in (
        (skipped, "not fitted, and in no cell: each was seen in fewer than 2 cells, or never with 2 molecules in one"),
        (~skipped & ~fits.converged.numpy(), "did not converge: raise max_iter, or take their thresholds with care"),
    ):
        if which.any():
            warnings.warn(f"{which.sum()} guide(s) {why}: {_some(guides[which])}.", UserWarning, stacklevel=4)


def _some(names: pd.Index) -> str:
    shown = ", ".join(map(str, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
