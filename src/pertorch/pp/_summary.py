"""What an assignment looks like, and which guides to look at twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.pp._counts import Counts, open_counts
from pertorch.pp._histograms import histograms
from pertorch.solvers import GuideParameters, log_odds, signal_floor

if TYPE_CHECKING:
    from anndata import AnnData

_FIT = ("poisson_rate", "gaussian_mean", "gaussian_std", "mix_probs_1")


class AssignmentSummary(NamedTuple):
    """An assignment in three tables.

    Attributes
    ----------
    overall
        ``cells``, ``guides``, ``pairs`` assigned, and the share of cells ``unassigned``, ``single`` and ``multiple``.
    cells
        Number of cells (``cells``) and their ``share`` by the number of guides that they have.
    guides
        A row for each guide: ``cells`` that have it, those in which it is ``alone``, its ``median_count`` in the
        cells that have it and its ``median_background`` in those that hold it but were not given it; ``overlap``, the
        expected share of wrong decisions by the mixture's own posterior; and flags, bool:

        ``few_cells``
            Fewer cells have it than `min_cells`.
        ``one_count``
            More than half of its cells hold the same count, or the mixture's signal is as narrow as it may be.
        ``no_separation``
            The overlap exceeds `max_overlap`.
        ``ambient``
            The posterior alone would have taken a lower threshold, at which ambient molecules explain most cells.
        ``no_threshold``
            The mixture has no threshold for it.

        Overlap and the last three flags need the columns that ``assign_mixture_model`` writes; without them they are
        NaN and False.
    """

    overall: pd.Series
    cells: pd.DataFrame
    guides: pd.DataFrame


def assignment_summary(
    adata: AnnData,
    *,
    assigned: str = "assigned_guides",
    layer: str | None = None,
    min_cells: int = 20,
    max_overlap: float = 0.05,
) -> AssignmentSummary:
    """Summarise an assignment.

    Parameters
    ----------
    adata
        Annotated data of shape ``n_obs × n_vars`` with raw counts and an assignment.
    assigned
        Key in ``adata.layers``: nonzero where a cell has a guide.
    layer
        Key in ``adata.layers`` of the counts. Default: ``adata.X``.
    min_cells, max_overlap
        Bounds of the flags ``few_cells`` and ``no_separation``.

    Raises
    ------
    KeyError
        If a layer does not exist.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pertorch
    >>> adata = ad.AnnData(np.array([[9, 1], [8, 7], [0, 2]], dtype=np.float32))
    >>> pertorch.GuideAssignment().assign_by_threshold(adata, assignment_threshold=5)
    >>> pertorch.pp.assignment_summary(adata).overall["multiple"].round(2)
    np.float64(0.33)
    """
    calls = open_counts(adata, assigned).matrix.astype(bool)
    counts = open_counts(adata, layer)
    per_cell = np.diff(calls.indptr)
    by_number = np.bincount(per_cell)
    cells = pd.DataFrame({"cells": by_number, "share": by_number / max(adata.n_obs, 1)})
    cells.index.name = "guides"
    overall = pd.Series(
        {
            "cells": adata.n_obs,
            "guides": adata.n_vars,
            "pairs": calls.nnz,
            "unassigned": float((per_cell == 0).mean()),
            "single": float((per_cell == 1).mean()),
            "multiple": float((per_cell > 1).mean()),
        }
    )
    return AssignmentSummary(overall, cells, _guides(adata, counts, calls, per_cell, min_cells, max_overlap))


def _guides(
    adata: AnnData, counts: Counts, calls: sp.csr_array, per_cell: NDArray[np.int32], min_cells: int, max_overlap: float
) -> pd.DataFrame:
    n_guides = calls.shape[1]
    have = np.bincount(calls.indices, minlength=n_guides)
    lonely = np.repeat(per_cell == 1, per_cell)
    background = counts.matrix - counts.matrix.multiply(calls)
    within, outside = (_columns(m) for m in (counts.matrix.multiply(calls), background))
    table = pd.DataFrame(index=adata.var_names)
    table["cells"] = have
    table["alone"] = np.bincount(calls.indices[lonely], minlength=n_guides)
    table["median_count"] = [np.median(v) if len(v) else np.nan for v in within]
    table["median_background"] = [np.median(v) if len(v) else np.nan for v in outside]
    fits = _fit_quality(adata, counts)
    table["overlap"] = fits["wrong"].to_numpy() / np.maximum(have, 1) if len(fits) else np.nan
    common = np.array([np.unique(v, return_counts=True)[1].max() if len(v) else 0 for v in within])
    table["few_cells"] = have < min_cells
    table["one_count"] = (common > have / 2) & (have > 1)
    for flag in ("narrow", "ambient", "no_threshold"):
        table[flag] = fits[flag].to_numpy() if len(fits) else False
    table["one_count"] |= table.pop("narrow")
    table.insert(table.columns.get_loc("ambient"), "no_separation", table["overlap"] > max_overlap)
    return table


def _fit_quality(adata: AnnData, counts: Counts) -> pd.DataFrame:
    """Of the fit in ``adata.var``: expected wrong decisions, and what is odd about it. Empty where there is no fit."""
    if not {*_FIT, "threshold"} <= set(adata.var):
        return pd.DataFrame()
    *fit, threshold = (torch.from_numpy(adata.var[c].to_numpy(np.float64, copy=True)) for c in (*_FIT, "threshold"))
    mixture = GuideParameters(*fit)
    every = torch.arange(adata.n_vars)
    values, times = histograms(counts, torch.device("cpu")).padded(every)
    signal = torch.sigmoid(log_odds(mixture, values))
    wrong = (times * torch.where(values >= threshold[:, None], 1 - signal, signal)).nansum(1)
    below = (threshold - 1).nan_to_num(0).clamp(min=1)[:, None]
    return pd.DataFrame(
        {
            "wrong": wrong.numpy(),
            "narrow": (mixture.std <= 1.01 * signal_floor(mixture.mean)).numpy(),
            "ambient": ((log_odds(mixture, below)[:, 0] > 0) & (threshold > 1)).numpy(),
            "no_threshold": threshold.isnan().numpy(),
        }
    )


def _columns(matrix: sp.csr_array) -> list[NDArray[np.float64]]:
    """The non-zero values of each column."""
    columns = sp.csc_array(matrix)
    columns.eliminate_zeros()
    return np.split(columns.data, columns.indptr[1:-1])
