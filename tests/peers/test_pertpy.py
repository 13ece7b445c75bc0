"""The numbers of pertpy, kept as numbers: its V-statistic and the metrics of the means, on dense float64 data."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from pertorch import Distance
from testing.pertorch import assert_close

GOLDEN = json.loads((Path(__file__).parent / "pertpy.json").read_text())
ORDER = ["NT", "STAT1", "JAK2"]  # of rows (X) and columns (Y)
SCREENS = {"small": (0, 60, 8), "wide": (1, 90, 50)}
OPTIONS = {"edistance": {"estimator": "v"}}


def screen(seed, n_cells, n_features):
    """The data that pertpy was given."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["NT", "STAT1", "JAK2"], n_cells, p=[0.5, 0.3, 0.2])
    shift = {"NT": 0.0, "STAT1": 0.8, "JAK2": -0.3}
    base = rng.gamma(2.0, 1.0, n_features)
    noise = rng.normal(size=(n_cells, n_features))
    X = base + noise + np.array([shift[label] for label in labels])[:, None] * np.linspace(0, 1, n_features)
    obs = pd.DataFrame({"gene": labels}, index=[f"cell{i}" for i in range(n_cells)])
    return anndata.AnnData(obs=obs, obsm={"X_pca": X})


@pytest.mark.parametrize("metric", GOLDEN["tables"]["small"])
@pytest.mark.parametrize("name", SCREENS)
def test_as_pertpy(name, metric):
    found = Distance(metric, **OPTIONS.get(metric, {})).pairwise(screen(*SCREENS[name]), "gene", groups=ORDER)
    expected = GOLDEN["tables"][name][metric]
    assert_close(found, expected, rel=1e-10)


@pytest.mark.parametrize("name", SCREENS)
def test_our_default_is_not_pertpys_but_unbiased(name):
    found = Distance("edistance").pairwise(screen(*SCREENS[name]), "gene", groups=ORDER)
    expected = np.array(GOLDEN["tables"][name]["edistance"])
    assert (found.to_numpy()[expected > 0] < expected[expected > 0]).all()
