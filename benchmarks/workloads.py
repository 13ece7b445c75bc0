"""Screens to measure on: the same seed gives the same data."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

GROUPBY, CONTROL, LINE = "perturbation", "control", "cell_line"
ROWS = 500  # of expression drawn at once
EMBEDDED = 100_000  # cells of an embedding drawn at once


def embedded_screen(n_cells: int, n_groups: int, n_features: int = 50, seed: int = 0) -> ad.AnnData:
    """Cells in an embedding whose spectrum falls as that of principal components; a tenth of them are controls.

    Each group's centre is 0.3 standard deviations from the others' in every component; the other groups' sizes are
    random around their mean.
    """
    rng = np.random.default_rng(seed)
    codes = _codes(rng, n_cells, n_groups)
    spectrum = (10 / np.sqrt(np.arange(1, n_features + 1))).astype(np.float32)
    centres = rng.normal(0, 0.3, (n_groups, n_features)).astype(np.float32)
    X = rng.standard_normal((n_cells, n_features), dtype=np.float32)
    X += centres[codes]
    X *= spectrum
    return ad.AnnData(obs=_labels(codes, n_groups), obsm={"X_pca": X})


def expression_screen(n_cells: int, n_groups: int, n_genes: int, seed: int = 0) -> ad.AnnData:
    """Sparse expression, about an eighth of it above 0: raw counts in ``layers["counts"]``, their log1p in ``X``.

    Counts are negative binomial (size 0.5). Means are log-normal over genes, and each group moves a twentieth of them.
    """
    rng = np.random.default_rng(seed)
    codes = _codes(rng, n_cells, n_groups)
    mean = rng.lognormal(-1.8, 0.8, n_genes)
    means = mean * np.exp(rng.normal(0, 0.5, (n_groups, n_genes)) * (rng.random((n_groups, n_genes)) < 0.05))

    def draw(start: int) -> sp.csr_matrix:
        own = np.random.default_rng([seed, start])
        rates = means[codes[start : start + ROWS]]
        return sp.csr_matrix(own.poisson(rates * own.gamma(0.5, 2, rates.shape)).astype(np.float32))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy's generators release the interpreter's lock
        counts = sp.vstack(list(pool.map(draw, range(0, n_cells, ROWS))), format="csr")
    return ad.AnnData(counts.log1p(), obs=_labels(codes, n_groups), layers={"counts": counts})


def drug_screen(n_cells: int, n_lines: int, n_treatments: int, n_features: int = 50, seed: int = 0) -> ad.AnnData:
    """Embedded cells of several cell lines, each of which got every treatment; one cell in fifty is a control.

    A line's centre is 1 standard deviation from the others' in every component, a treatment moves it by 0.2.
    """
    rng = np.random.default_rng(seed)
    line = rng.integers(0, n_lines, n_cells).astype(np.int8)
    treatment = np.where(rng.random(n_cells) < 0.02, 0, rng.integers(1, n_treatments, n_cells)).astype(np.int16)
    every = np.arange(n_lines * n_treatments)  # no condition is without cells
    line[: len(every)], treatment[: len(every)] = every % n_lines, every // n_lines
    lines = rng.normal(0, 1, (n_lines, n_features)).astype(np.float32)
    moved = rng.normal(0, 0.2, (n_treatments, n_features)).astype(np.float32)
    moved[0] = 0
    X = np.empty((n_cells, n_features), dtype=np.float32)

    def draw(start: int) -> None:
        rows = slice(start, start + EMBEDDED)
        np.random.default_rng([seed, start]).standard_normal(dtype=np.float32, out=X[rows])
        X[rows] += lines[line[rows]] + moved[treatment[rows]]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(0, n_cells, EMBEDDED)))
    obs = pd.DataFrame(
        {
            LINE: pd.Categorical.from_codes(line, [f"line{i}" for i in range(n_lines)]),
            GROUPBY: pd.Categorical.from_codes(treatment, [CONTROL, *(f"drug{i}" for i in range(1, n_treatments))]),
        },
        index=pd.RangeIndex(n_cells).astype(str),
    )
    return ad.AnnData(obs=obs, obsm={"X_pca": X})


def _codes(rng: np.random.Generator, n_cells: int, n_groups: int) -> NDArray[np.int64]:
    """A tenth of the cells are controls; the other groups' sizes are random around their mean."""
    codes = np.where(rng.random(n_cells) < 0.1, 0, rng.integers(1, n_groups, n_cells))
    codes[: 2 * n_groups] = np.arange(2 * n_groups) % n_groups  # no group is without cells
    rng.shuffle(codes)
    return codes


def _labels(codes: NDArray[np.int64], n_groups: int) -> pd.DataFrame:
    names = [CONTROL, *(f"gene{i}" for i in range(1, n_groups))]
    return pd.DataFrame({GROUPBY: pd.Categorical.from_codes(codes, names)}, index=np.arange(len(codes)).astype(str))
