"""Centroid metrics against numpy and scipy in float64."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial import distance
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from pertorch import Distance
from testing.pertorch import assert_close

FORMULAS = {
    "euclidean": distance.euclidean,
    "root_mean_squared_error": distance.euclidean,  # not divided by √p, as both peers
    "mse": lambda x, y: np.mean((x - y) ** 2),
    "mean_absolute_error": lambda x, y: np.mean(np.abs(x - y)),
    "pearson_distance": lambda x, y: 1 - pearsonr(x, y).statistic,
    "cosine_distance": distance.cosine,
    "r2_distance": lambda x, y: 1 - r2_score(x, y),
}


def two_groups(n_features=40, offset=0.0):
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, 1.0, n_features) + offset
    return base + rng.normal(size=(50, n_features)), base + rng.normal(0.2, 1, (70, n_features))


@pytest.mark.parametrize("metric", FORMULAS)
def test_formula(metric):
    x, y = two_groups()
    assert_close(Distance(metric)(x, y), FORMULAS[metric](x.mean(0), y.mean(0)), rel=1e-9)


@pytest.mark.parametrize("metric", FORMULAS)
def test_formula_with_an_offset(metric):
    """Of float32 input the means are taken in float64."""
    x, y = (z.astype(np.float32) for z in two_groups(offset=1000.0))
    means = (z.astype(np.float64).mean(0) for z in (x, y))
    # 1 − r and 1 − cos lose digits in float64 itself where r is nearly 1
    assert_close(Distance(metric)(x, y), FORMULAS[metric](*means), rel=1e-9, scale=1e-3 if "cosine" in metric else None)


@pytest.mark.parametrize("metric", FORMULAS)
def test_counts(metric):
    x, y = (np.random.default_rng(seed).poisson(rate, (30, 25)) for seed, rate in ((0, 1.0), (1, 1.5)))
    found = Distance(metric)(sp.csr_array(x), sp.csc_matrix(y))
    assert_close(found, FORMULAS[metric](x.mean(0), y.mean(0)), rel=1e-9)


def constant(*values):
    return np.tile(np.asarray(values, dtype=np.float64), (4, 1))


UP, DOWN, FLAT, ZERO = constant(1, 2, 3), constant(3, 2, 1), constant(0.1, 0.1, 0.1), constant(0, 0, 0)
NAN = float("nan")


@pytest.mark.parametrize(
    ("metric", "x", "y", "expected"),
    [
        ("pearson_distance", UP, UP, 0.0),
        ("pearson_distance", UP, DOWN, 2.0),
        ("pearson_distance", UP, 5 * UP + 7, 0.0),
        ("pearson_distance", UP, FLAT, NAN),  # a constant vector has no correlation
        ("pearson_distance", FLAT, FLAT, NAN),
        ("pearson_distance", ZERO, UP, NAN),
        ("cosine_distance", UP, 5 * UP, 0.0),
        ("cosine_distance", UP, -UP, 2.0),
        ("cosine_distance", UP, ZERO, NAN),  # a zero vector has no direction
        ("cosine_distance", ZERO, ZERO, NAN),
        ("r2_distance", UP, UP, 0.0),
        ("r2_distance", FLAT, FLAT, 0.0),  # a constant truth: an exact match
        ("r2_distance", FLAT, UP, 1.0),  # and no match
        ("r2_distance", UP, FLAT, 6.415),
        ("euclidean", UP, UP, 0.0),
        ("mse", UP, ZERO, 14 / 3),
        ("mean_absolute_error", DOWN, ZERO, 2.0),
    ],
)
def test_edges(metric, x, y, expected):
    found = Distance(metric)(x, y)
    if expected == expected:
        assert abs(found - expected) < 1e-15 * max(1, abs(expected)) * 4
        assert found >= 0
    else:
        assert np.isnan(found)


@pytest.mark.parametrize("metric", FORMULAS)
def test_one_cell_each(metric):
    x, y = (z[:1] for z in two_groups())
    assert_close(Distance(metric)(x, y), FORMULAS[metric](x[0], y[0]), rel=1e-9)


def test_one_feature():
    x, y = np.array([[1.0], [3.0]]), np.array([[5.0]])
    assert Distance("mse")(x, y) == 9
    assert Distance("cosine_distance")(x, y) == 0
    with pytest.raises(ValueError, match="pearson_distance needs at least 2 features, X and Y has 1"):
        Distance("pearson_distance")(x, y)
