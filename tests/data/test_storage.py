"""The same answer whatever the matrix is stored as."""

import numpy as np
import pandas as pd
import pytest

from pertorch import Distance
from testing.pertorch import assert_close


@pytest.fixture
def values():
    return np.random.default_rng(0).poisson(1.5, (29, 6)).astype(np.float64)


@pytest.fixture
def obs():
    labels = np.random.default_rng(1).choice(["b", "a", "c"], 29)
    return pd.DataFrame({"group": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(29)])


def test_distance_of_every_storage(stored_screen, values, obs):
    stored = stored_screen(values, obs)
    rows = [stored.dense[obs["group"] == name] for name in "abc"]
    for metric in ("edistance", "cosine_distance"):
        found = Distance(metric, **stored.keys).pairwise(stored.adata, "group")
        expected = [[0.0 if x is y else Distance(metric)(x, y) for y in rows] for x in rows]
        # an energy distance is a difference of mean distances, and errs as they do
        scale = np.linalg.norm(stored.dense, axis=1).mean() if metric == "edistance" else None
        assert_close(found, expected, rel=1e-6, scale=scale)
