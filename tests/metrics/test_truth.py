"""Each metric against scipy, scikit-learn or a formula, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import spatial, stats
from sklearn.neighbors import KernelDensity

import pertorch
from testing.pertorch import assert_close

GENES = 9


def by_gene(statistic):
    return lambda x, y: np.mean([statistic(x[:, j], y[:, j]) for j in range(x.shape[1])])


def kl(mean, sd, mean2, sd2):
    return np.log(sd2 / sd) + (sd**2 + (mean - mean2) ** 2) / (2 * sd2**2) - 0.5


def sym_kldiv(x, y):
    a, b = ((v.mean(), v.std() + 1e-8) for v in (x, y))
    return kl(*a, *b) + kl(*b, *a)


def kendalltau(x, y):
    p = x.shape[1]
    return (1 - stats.kendalltau(x.mean(0), y.mean(0)).statistic) * p * (p - 1) / 4


def mahalanobis(x, y):
    return spatial.distance.mahalanobis(x.mean(0), y.mean(0), np.linalg.inv(np.cov(x, rowvar=False)))


def mean_var_distribution(x, y):
    points = []
    for group in (x, y):
        used = group.mean(0) > 0
        points.append(np.log(np.stack([group.mean(0), group.var(0)], 1)[used]))
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    width = (high - low) / 98
    axes = [np.linspace(a - w / 2, b + w / 2, 100) for a, b, w in zip(low, high, width, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    first, second = (
        np.exp(KernelDensity(bandwidth=len(p) ** (-1 / 6), kernel="exponential").fit(p).score_samples(grid))
        for p in points
    )
    return np.mean((first - second) ** 2)


TRUTH = {
    "spearman_distance": lambda x, y: 1 - stats.spearmanr(x.mean(0), y.mean(0)).statistic,
    "kendalltau_distance": kendalltau,
    "sym_kldiv": by_gene(sym_kldiv),
    "t_test": by_gene(lambda x, y: abs(stats.ttest_ind(x, y, equal_var=False).statistic)),
    "ks_test": by_gene(lambda x, y: stats.ks_2samp(x, y).statistic),
    "mean_var_distribution": mean_var_distribution,
    "mahalanobis": mahalanobis,
}


@pytest.mark.parametrize("layer", ["log", "log_csr", "log32", "log32_csr"])
@pytest.mark.parametrize("metric", sorted(TRUTH))
def test_pairwise(screen, parts, metric, layer):
    table = pertorch.Distance(metric, layer_key=layer).pairwise(screen, "target")
    x = {g: v.astype(np.float64) for g, v in parts(layer.removesuffix("_csr")).items()}
    expected = [[0.0 if g == h else TRUTH[metric](x[g], x[h]) for h in table.columns] for g in table.index]
    assert_close(table, expected, rel=1e-6)


@pytest.mark.parametrize("metric", ["sym_kldiv", "t_test", "mahalanobis", "mean_var_distribution"])
@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variance_survives_a_common_offset(metric, store, dtype):
    random = np.random.default_rng(0)
    offset, sd = (1000, 0.1) if dtype == np.float32 else (1e5, 0.01)
    x, y = (random.normal(offset + shift, sd, size=(n, 5)).astype(dtype) for n, shift in ((50, 0), (80, sd / 2)))
    expected = TRUTH[metric](x.astype(np.float64), y.astype(np.float64))
    # t_test and sym_kldiv add 1e-8 to a variance and a standard deviation.
    added = 1e-8 / sd**2 if metric == "t_test" else 0
    assert_close(pertorch.Distance(metric)(store(x), store(y)), expected, rel=1e-6 + added)


@pytest.mark.parametrize("metric", ["ks_test", "spearman_distance", "t_test"])
def test_negative_values_and_explicit_zeros(metric):
    random = np.random.default_rng(1)
    x, y = (np.round(random.normal(shift, 1, size=(n, 6))) for n, shift in ((40, 0), (70, 0.3)))
    stored = sp.csr_matrix(np.ones_like(x))
    stored.data = x.ravel().copy()
    assert_close(pertorch.Distance(metric)(stored, sp.csr_matrix(y)), TRUTH[metric](x, y), rel=1e-6)


def test_ks_of_groups_that_do_not_overlap():
    x, y = np.full((3, 2), 1.0), np.full((4, 2), 2.0)
    for a, b, store in itertools.product((x, -x), (y, 0 * y), (np.asarray, sp.csr_matrix)):
        assert pertorch.Distance("ks_test")(store(a), store(b)) == 1
        assert pertorch.Distance("ks_test")(store(b), store(a)) == 1


def test_constant_genes():
    random = np.random.default_rng(2)
    x, y = random.poisson(2, size=(20, 3)).astype(float), random.poisson(3, size=(30, 3)).astype(float)
    x[:, 0], y[:, 0] = 0.1, 0.1
    x[:, 1], y[:, 1] = 0.0, 0.0
    for store in (np.asarray, sp.csr_matrix):
        assert_close(pertorch.Distance("sym_kldiv")(store(x), store(y)), sym_kldiv(x[:, 2], y[:, 2]) / 3, rel=1e-6)
        t = abs(stats.ttest_ind(x[:, 2], y[:, 2], equal_var=False).statistic)
        assert_close(pertorch.Distance("t_test")(store(x), store(y)), t / 3, rel=1e-6)
        # A gene without variance has no place in a plot of logarithms.
        assert_close(
            pertorch.Distance("mean_var_distribution")(store(x), store(y)),
            pertorch.Distance("mean_var_distribution")(x[:, 2:], y[:, 2:]),
            rel=1e-12,
        )


@pytest.mark.parametrize("metric", ["spearman_distance", "kendalltau_distance", "pearson_distance"])
def test_correlations_are_undefined_where_a_mean_vector_is_constant(metric):
    assert np.isnan(pertorch.Distance(metric)(np.ones((3, 4)), np.arange(12.0).reshape(3, 4)))


@pytest.mark.parametrize(
    ("metric", "x", "y", "message"),
    [
        ("t_test", (1, 3), (5, 3), r"t_test needs at least 2 cells in X, and group 'X' has 1"),
        ("t_test", (5, 3), (1, 3), r"t_test needs at least 2 cells in Y, and group 'Y' has 1"),
        ("sym_kldiv", (1, 3), (5, 3), r"sym_kldiv needs at least 2 cells"),
        ("mean_var_distribution", (5, 3), (1, 3), r"mean_var_distribution needs at least 2 cells"),
        ("classifier_proba", (5, 3), (1, 3), r"classifier_proba needs at least 2 cells in Y"),
        ("mahalanobis", (3, 3), (5, 3), r"mahalanobis needs at least 4 cells, one more than features, in X"),
        ("spearman_distance", (5, 1), (5, 1), r"spearman_distance needs at least 2 features"),
        ("mean_var_distribution", "negative", (5, 3), r"no gene with positive mean and variance"),
        ("mahalanobis", "collinear", (5, 3), r"covariance of group 'X' \(9 cells, 3 features\) is singular"),
        ("mahalanobis", "constant", (5, 3), r"covariance of group 'X' \(9 cells, 3 features\) is singular"),
    ],
)
def test_errors(metric, x, y, message):
    random = np.random.default_rng(3)
    values = [random.normal(5, 1, size=(9, 3) if isinstance(s, str) else s) for s in (x, y)]
    if x == "negative":
        values[0] *= -1
    if x == "collinear":
        values[0][:, 2] = values[0][:, 0] - 2 * values[0][:, 1]
    if x == "constant":
        values[0][:, 1] = 0.1
    for dtype in (np.float64, np.float32):
        with pytest.raises(ValueError, match=message):
            pertorch.Distance(metric)(*(v.astype(dtype) for v in values))


def test_directions(screen, parts):
    x = parts("log")
    table = pertorch.Distance("mahalanobis", layer_key="log").pairwise(screen, "target")
    assert table.loc["a", "b"] != table.loc["b", "a"]
    assert_close(table.loc["a", "b"], mahalanobis(x["a"], x["b"]), rel=1e-9)
    contrasts = pertorch.Distance.create_contrasts(screen, "target", "b")
    rows = pertorch.Distance("mahalanobis", layer_key="log").contrast_distances(screen, contrasts)
    assert_close(rows["mahalanobis"], [table.loc[g, "b"] for g in rows["target"]], rel=1e-12)
