"""Screens to measure on: the same seed gives the same data."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

GROUPBY, CONTROL = "perturbation", "control"


def embedded_screen(n_cells: int, n_groups: int, n_features: int = 50, seed: int = 0) -> ad.AnnData:
    """Cells in an embedding whose spectrum falls as that of principal components; a tenth of them are controls.

    Each group's centre is 0.3 standard deviations from the others' in every component; the other groups' sizes are
    random around their mean.
    """
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random(n_cells) < 0.1, 0, rng.integers(1, n_groups, n_cells))
    codes[: 2 * n_groups] = np.arange(2 * n_groups) % n_groups  # no group is without cells
    rng.shuffle(codes)
    spectrum = (10 / np.sqrt(np.arange(1, n_features + 1))).astype(np.float32)
    centres = rng.normal(0, 0.3, (n_groups, n_features)).astype(np.float32)
    X = rng.standard_normal((n_cells, n_features), dtype=np.float32)
    X += centres[codes]
    X *= spectrum
    names = [CONTROL, *(f"gene{i}" for i in range(1, n_groups))]
    obs = pd.DataFrame({GROUPBY: pd.Categorical.from_codes(codes, names)}, index=np.arange(n_cells).astype(str))
    return ad.AnnData(obs=obs, obsm={"X_pca": X})
