"""Screens with known truth, over a grid of ambient rates, shares of positive cells, and signals.

``planted_pertpy_1.4.0.csv`` holds what ``pertpy.pp.GuideAssignment().assign_mixture_model`` makes of ``grid()``: the
thresholds of the eight guides of each corner.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment

AMBIENT = (0.01, 0.1, 0.3, 1.0, 3.0)  # molecules per cell
POSITIVE = (0.005, 0.02, 0.1, 0.3)  # share of cells
SIGNAL = (5, 20, 100)  # molecules, mean; log-normal from cell to cell
CELLS, REPEATS, SPREAD = 4000, 8, 0.5


@pytest.fixture(scope="module")
def planted():
    return grid()


def grid(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float, int]]]:
    """Counts and truth, cells × guides, and the corner of the grid that each guide stands for."""
    rng = np.random.default_rng(seed)
    counts, truth, corners = [], [], []
    for corner in itertools.product(AMBIENT, POSITIVE, SIGNAL):
        ambient, share, signal = corner
        for _ in range(REPEATS):
            positive = np.zeros(CELLS, bool)
            positive[rng.choice(CELLS, max(round(share * CELLS), 1), replace=False)] = True
            size = signal * np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, CELLS))
            counts.append(rng.poisson(ambient, CELLS) + np.where(positive, rng.poisson(size), 0))
            truth.append(positive)
            corners.append(corner)
    return np.array(counts).T, np.array(truth).T, corners


def f1(counts: np.ndarray, truth: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Of each guide, for assignment at a threshold; 0 where the threshold is NaN."""
    called = counts >= threshold
    hits = (called & truth).sum(0)
    return 2 * hits / (2 * hits + (called & ~truth).sum(0) + (~called & truth).sum(0))


def test_truth_is_found_at_least_as_well_as_by_pertpy(planted):
    """F1 against planted truth in each corner of the grid, at the thresholds of pertpy 1.4.0 and at ours."""
    counts, truth, corners = planted
    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)))
    GuideAssignment().assign_mixture_model(adata)
    golden = pd.read_csv(Path(__file__).with_name("planted_pertpy_1.4.0.csv"), index_col=[0, 1, 2])
    theirs = f1(counts, truth, golden.to_numpy().ravel())
    ours = f1(counts, truth, adata.var["threshold"].to_numpy())
    keys = pd.MultiIndex.from_tuples(corners, names=["ambient", "positive", "signal"])
    gain = pd.Series(ours - theirs, index=keys).groupby(level=[0, 1, 2])
    assert ours.mean() > theirs.mean() + 0.1
    # Where 20 cells of 5 molecules stand among 1,000 with ambient ones, the prior's pole at weight 0 draws the maximum
    # towards fewer of them, and a search that stops short of it may end nearer the truth: within chance, here.
    assert (gain.mean() >= -2 * gain.sem() - 1e-3).all()
    floor = 2 ** (-adata.var["gaussian_mean"] / 2) / (2 * np.log(2))
    assert (adata.var["gaussian_std"] >= floor * (1 - 1e-9)).all(), "a signal shrank onto one count"
