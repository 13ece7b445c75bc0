"""Bootstrap: the moments of the replicates' statistic, and one set of replicates for every verb."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist

from pertorch import Distance
from pertorch.data import Groups
from pertorch.stats import Bootstrap
from testing.pertorch import assert_close, unchanged

from .conftest import METRICS


def edistance(d_xx, d_xy, d_yy):
    n, m = d_xy.shape
    return 2 * d_xy.mean() - d_xx.sum() / (n * (n - 1)) - d_yy.sum() / (m * (m - 1))


def brute_force_moments(x, y, n_replicates=3000):
    """Resample cells of each group, and compute the statistic of the sample, in numpy."""
    rng = np.random.default_rng(7)
    d_xx, d_xy, d_yy = cdist(x, x), cdist(x, y), cdist(y, y)
    values = []
    for _ in range(n_replicates):
        i, j = rng.integers(0, len(x), len(x)), rng.integers(0, len(y), len(y))
        values.append(edistance(d_xx[np.ix_(i, i)], d_xy[np.ix_(i, j)], d_yy[np.ix_(j, j)]))
    return np.mean(values), np.var(values)


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_moments_against_brute_force(shift):
    """Near the null the three terms are strongly correlated: adding their variances gives up to 18 times too much."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(shift, 1, (60, 5))
    mean, variance = brute_force_moments(x, y)
    found = Distance().bootstrap(x, y, n_bootstrap=4000, random_state=1)
    assert abs(found.mean - mean) < 5 * np.sqrt(variance / 4000 + variance / 3000)
    # a variance over r replicates errs by about √(2 / r) for a normal statistic, more for a skewed one
    assert_close(found.variance, variance, rel=5 * 1.5 * np.sqrt(2 / 4000 + 2 / 3000))


@pytest.mark.parametrize("metric", METRICS)
def test_moments_are_those_of_the_statistic_of_resampled_cells(screen, metric):
    """Draw the same cells by hand, repeat them, and evaluate the metric on them."""
    n_replicates = 5
    groups = Groups.from_obs(screen, "gene")
    options = {"bootstrap": True, "n_bootstrap": n_replicates, "random_state": 3, "confidence_level": 0.7}
    mean, variance, lower, upper = Distance(metric).pairwise(screen, "gene", ci_method="percentile", **options)
    mirrored = Distance(metric).pairwise(screen, "gene", ci_method="basic", **options)[2:]
    weights = Bootstrap(groups.offsets, torch.from_numpy(groups.keys), n_replicates, 3)
    counts = weights.columns(0, n_replicates, torch.device("cpu")).numpy().astype(int)
    cuts = groups.offsets[1:-1].numpy()
    cells, counts = (np.split(v, cuts) for v in (screen.obsm["X_pca"][groups.order(torch.device("cpu"))], counts))
    for a, b in [(0, 1), (3, 2)]:
        drawn = [[np.repeat(cells[g], counts[g][:, r], axis=0) for g in (a, b)] for r in range(n_replicates)]
        values = [Distance(metric)(x, y) for x, y in drawn]
        assert_close(mean.iloc[a, b], np.mean(values), rel=1e-9)
        assert_close(variance.iloc[a, b], np.var(values), rel=1e-7)
        ends = np.quantile(values, [0.15, 0.85])
        assert_close([lower.iloc[a, b], upper.iloc[a, b]], ends, rel=1e-8)
        twice = 2 * Distance(metric)(cells[a], cells[b])
        assert_close([table.iloc[a, b] for table in mirrored], twice - ends[::-1], rel=1e-8, scale=abs(twice))


@pytest.mark.parametrize("metric", ["edistance", "cosine_distance", "r2_distance"])
def test_every_verb_and_subset_sees_the_same_replicates(screen, metric):
    options = {"bootstrap": True, "n_bootstrap": 20, "random_state": 5, "confidence_level": 0.9, "ci_method": "basic"}
    distance = Distance(metric)
    whole = distance.pairwise(screen, "gene", **options)
    order = ["STAT1", "NT", "JAK2"]
    contrasts = distance.create_contrasts(screen, "gene", "NT", groups=["JAK2", "STAT1"])
    for i in range(4):
        some = distance.pairwise(screen, "gene", groups=order, **options)[i]
        assert_close(some, whole[i].loc[order, order], rel=1e-8)
        onesided = distance.onesided_distances(screen, "gene", "NT", **options)[i]
        assert_close(onesided, whole[i]["NT"], rel=1e-8)
        one = distance.onesided_distances(screen, "gene", "NT", groups=["JAK2"], **options)[i]
        assert_close(one, whole[i].loc[["JAK2"], "NT"], rel=1e-8)
        table = distance.contrast_distances(screen, contrasts, **options)[i]
        assert_close(table[metric], whole[i].loc[["JAK2", "STAT1"], "NT"], rel=1e-8)


@pytest.mark.parametrize("method", ["centred", "percentile", "basic"])
def test_intervals_hold_the_truth_as_often_as_they_say(method):
    """200 screens of two groups, 3 apart in each of 4 features."""
    rng = np.random.default_rng(0)
    side = np.tile(np.repeat([0, 1], 40), 200)
    labels = np.repeat([f"{s}{i}" for i in range(200) for s in "xy"], 40)
    obs = pd.DataFrame({"g": labels}, index=np.arange(len(labels)).astype(str))
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": rng.normal(3.0 * side[:, None], 1, (len(labels), 4))})
    screens = pd.DataFrame({"g": [f"x{i}" for i in range(200)], "reference": [f"y{i}" for i in range(200)]})
    _, _, lower, upper = Distance("euclidean").contrast_distances(
        adata, screens, bootstrap=True, n_bootstrap=200, confidence_level=0.8, ci_method=method
    )
    inside = (lower["euclidean"] < 6) & (upper["euclidean"] > 6)
    assert abs(inside.mean() - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 200)


def test_intervals_of_the_energy_distance_hold_the_truth():
    """Of 150 screens of two groups in 50 dimensions. Plain quantiles lie too high: resampled cells coincide."""
    rng = np.random.default_rng(0)
    side = np.tile(np.repeat([0, 1], 50), 150)
    labels = np.repeat([f"{s}{i}" for i in range(150) for s in "xy"], 50)
    obs = pd.DataFrame({"g": labels}, index=np.arange(len(labels)).astype(str))
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": rng.normal(0.2 * side[:, None], 1, (len(labels), 50))})
    x, y = (rng.normal(shift, 1, (20_000, 50)) for shift in (0, 0.2))
    truth = Distance()(x, y)
    screens = pd.DataFrame({"g": [f"x{i}" for i in range(150)], "reference": [f"y{i}" for i in range(150)]})
    inside = {}
    for method in ("centred", "percentile"):
        _, _, lower, upper = Distance().contrast_distances(
            adata, screens, bootstrap=True, n_bootstrap=200, confidence_level=0.9, ci_method=method
        )
        inside[method] = ((lower["edistance"] < truth) & (upper["edistance"] > truth)).mean()
    assert inside["centred"] > 0.9 - 3 * np.sqrt(0.9 * 0.1 / 150)
    assert inside["percentile"] < 0.5
    assert inside["centred"] < 1


def test_intervals_of_two_arrays():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(1, 1, (60, 5))
    plain = Distance().bootstrap(x, y, n_bootstrap=50)
    found = Distance().bootstrap(x, y, n_bootstrap=50, confidence_level=0.95)
    assert found[:2] == plain
    assert found.lower < Distance()(x, y) < found.upper
    wider = Distance().bootstrap(x, y, n_bootstrap=50, confidence_level=0.99)
    assert wider.lower < found.lower < found.upper < wider.upper


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence_level": 0.9}, "confidence_level=0.9.*pass bootstrap=True"),
        ({"confidence_level": 95, "bootstrap": True}, "confidence_level=95 must lie between 0 and 1"),
        ({"ci_method": "bca", "bootstrap": True}, "ci_method='bca' is not one of: 'centred', 'percentile', 'basic'"),
    ],
)
def test_bad_intervals(screen, options, message):
    with unchanged(screen), pytest.raises(ValueError, match=message):
        Distance().pairwise(screen, "gene", **options)


def test_the_same_replicates_whatever_the_type_of_the_column(screen):
    options = {"groups": ["NT", "JAK2"], "bootstrap": True, "n_bootstrap": 10}
    clean = screen[screen.obs["gene"].notna()].copy()
    categorical, text = (Distance().pairwise(clean, column, **options) for column in ("gene", "text"))
    for first, second in zip(categorical, text, strict=True):
        np.testing.assert_array_equal(first, second)


def test_layout(screen):
    with unchanged(screen):
        mean, variance = Distance("mse").pairwise(screen, "gene", bootstrap=True, n_bootstrap=10)
    assert (mean.name, variance.name) == ("pairwise mse", "pairwise mse variance")
    for table in (mean, variance):
        assert list(table.index) == list(table.columns) == ["JAK2", "NT", "IRF1", "STAT1"]
        assert (np.diag(table) == 0).all()
        assert (table.to_numpy()[~np.eye(4, dtype=bool)] > 0).all()
    options = {"bootstrap": True, "n_bootstrap": 10, "confidence_level": 0.9}
    names = [table.name for table in Distance("mse").pairwise(screen, "gene", **options)]
    assert names == ["pairwise mse", "pairwise mse variance", "pairwise mse lower", "pairwise mse upper"]
    mean, variance = Distance("mse").onesided_distances(screen, "gene", "NT", bootstrap=True, n_bootstrap=10)
    assert isinstance(mean, pd.Series)
    assert mean["NT"] == variance["NT"] == 0
    assert mean.name == variance.name == "NT"
    contrasts = Distance.create_contrasts(screen, "gene", "NT")
    for table in Distance("mse").contrast_distances(screen, contrasts, bootstrap=True, n_bootstrap=10):
        assert list(table.columns) == ["gene", "reference", "mse"]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40, np.int64(7), np.uint8(7)])
def test_seeds(screen, seed):
    options = {"bootstrap": True, "n_bootstrap": 4}
    first, again = (Distance().pairwise(screen, "gene", random_state=seed, **options)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = Distance().pairwise(screen, "gene", random_state=int(seed) + 1, **options)[0]
    assert np.count_nonzero(first != other) == 12


def test_more_replicates_than_one_pass_takes(screen):
    """The first replicates are the same however many there are: sums of squares from moments."""

    def sums(n):
        options = {"groups": ["NT"], "bootstrap": True, "n_bootstrap": n}
        mean, variance = (s.iloc[0] for s in Distance().onesided_distances(screen, "gene", "STAT1", **options))
        return n * mean, n * (variance + mean**2)

    (first, squares), (all_of_them, all_squares) = sums(128), sums(129)
    last = all_of_them - first
    assert_close(all_squares - squares, last**2, rel=1e-8)


def test_a_group_of_one_cell_does_not_vary():
    obs = pd.DataFrame({"g": list("aabc")}, index=list("1234"))
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": np.arange(12.0).reshape(4, 3)})
    mean, variance = Distance().pairwise(adata, "g", bootstrap=True, n_bootstrap=10)
    assert variance.loc["b", "c"] == 0
    assert_close(mean.loc["b", "c"], 2 * np.sqrt(27), rel=1e-12)
