"""Laws that distances obey, whatever the data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ortho_group

from pertorch import Distance
from testing.pertorch import assert_close

N_FEATURES = 4
SYMMETRIC = ["edistance", "euclidean", "mse", "mean_absolute_error", "cosine_distance", "pearson_distance"]
OF_DIFFERENCES = ["edistance", "euclidean", "mse", "mean_absolute_error"]

values = st.floats(-100, 100).map(lambda x: round(x, 3))
cells = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, N_FEATURES), elements=values))
vectors = arrays(np.float64, N_FEATURES, elements=values)
rotations = st.integers(0, 100).map(lambda seed: ortho_group.rvs(N_FEATURES, random_state=seed))
factors = st.floats(0.01, 100)
estimators = st.sampled_from(["u", "v"])


def size_of(x, y):
    """A distance that the others are small beside: rounding is relative to it."""
    both = np.concatenate([x, y])
    return max(1.0, float(np.linalg.norm(both - both.mean(0), axis=1).max()))


def edistance(x, y, estimator="u", **options):
    return Distance("edistance", estimator=estimator, **options)(x, y)


@given(cells, cells, vectors, rotations, estimators)
def test_edistance_does_not_see_translations_and_rotations(x, y, shift, rotation, estimator):
    moved = [z @ rotation + 1000 * shift for z in (x, y)]
    assert_close(edistance(*moved, estimator), edistance(x, y, estimator), rel=1e-8, scale=size_of(x, y))


@given(cells, cells, factors, estimators)
def test_edistance_scales_with_its_data(x, y, factor, estimator):
    scaled = edistance(factor * x, factor * y, estimator)
    assert_close(scaled, factor * edistance(x, y, estimator), rel=1e-11, scale=factor * size_of(x, y))


@given(cells, cells, st.randoms(use_true_random=False), estimators)
def test_edistance_does_not_see_the_order_of_cells(x, y, random, estimator):
    x_mixed, y_mixed = (z[random.sample(range(len(z)), len(z))] for z in (x, y))
    assert_close(edistance(x_mixed, y_mixed, estimator), edistance(x, y, estimator), rel=1e-11, scale=size_of(x, y))


@given(cells, cells)
def test_edistance_v_is_a_distance_of_distributions(x, y):
    scale = size_of(x, y)
    assert edistance(x, y, "v") >= -1e-11 * scale
    assert_close(edistance(x, x, "v"), 0.0, rel=1e-11, scale=scale)
    # a distribution is the same with every cell three times
    assert_close(edistance(np.repeat(x, 3, axis=0), y, "v"), edistance(x, y, "v"), rel=1e-11, scale=scale)


@given(cells, cells)
def test_edistance_u_never_exceeds_v(x, y):
    assert edistance(x, y, "u") <= edistance(x, y, "v") + 1e-11 * size_of(x, y)


@given(cells, cells)
def test_edistance_of_squares_is_twice_the_squared_distance_of_the_means(x, y):
    found = edistance(x, y, "v", cell_wise_metric="sqeuclidean")
    expected = 2 * Distance("euclidean")(x, y) ** 2
    assert_close(found, expected, rel=1e-10, scale=size_of(x, y) ** 2)


@pytest.mark.parametrize("metric", SYMMETRIC)
@given(x=cells, y=cells)
def test_symmetry(metric, x, y):
    assert_close(Distance(metric)(x, y), Distance(metric)(y, x), rel=1e-11, scale=size_of(x, y))


@pytest.mark.parametrize("metric", OF_DIFFERENCES)
@given(x=cells, y=cells, shift=vectors)
def test_translation(metric, x, y, shift):
    moved = Distance(metric)(x + shift, y + shift)
    assert_close(moved, Distance(metric)(x, y), rel=1e-10, scale=size_of(x, y) ** 2)


@given(cells, cells, rotations)
def test_rotation_of_the_means(x, y, rotation):
    for metric in ("euclidean", "mse", "cosine_distance"):
        turned = Distance(metric)(x @ rotation, y @ rotation)
        same = Distance(metric)(x, y)
        if min(np.linalg.norm(x.mean(0)), np.linalg.norm(y.mean(0))) > 1e-3 or metric != "cosine_distance":
            assert_close(turned, same, rel=1e-10, scale=size_of(x, y) ** 2)


@given(cells, cells)
def test_centroid_metrics_agree_with_each_other(x, y):
    euclidean = Distance("euclidean")(x, y)
    assert_close(Distance("mse")(x, y) * N_FEATURES, euclidean**2, rel=1e-11)
    assert Distance("root_mean_squared_error")(x, y) == euclidean
    absolute = Distance("mean_absolute_error")(x, y) * N_FEATURES
    assert euclidean <= absolute * (1 + 1e-12)
    assert absolute <= euclidean * np.sqrt(N_FEATURES) * (1 + 1e-12)


@given(cells, cells, factors, st.floats(-50, 50))
def test_correlation_does_not_see_scale_and_shift(x, y, factor, shift):
    spreads = [np.ptp(z.mean(0)) for z in (x, y)]
    if min(spreads) > 0.1:
        assert_close(
            Distance("pearson_distance")(factor * x + shift, y), Distance("pearson_distance")(x, y), rel=1e-8, scale=1.0
        )
