from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from pertorch import pl


def table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    values = np.abs(rng.normal(size=(n, 1)) - rng.normal(size=(1, n)))
    values = values + values.T
    np.fill_diagonal(values, 0)
    names = pd.Index([f"target{i}" for i in range(n)], name="gene")
    return pd.DataFrame(values, index=names, columns=names)


def onesided(n: int) -> tuple[pd.Series, ...]:
    rng = np.random.default_rng(n)
    names = pd.Index(["NT", *(f"target{i}" for i in range(n))], name="gene")
    mean = pd.Series(np.concatenate([[0], rng.gamma(2, size=n)]), names, name="NT")
    variance = pd.Series(rng.gamma(1, 0.1, size=n + 1), names, name="NT")
    return mean, variance, mean - 0.3, mean + 0.5


def table_of_tests(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    p = np.concatenate([[1.0], rng.uniform(1e-4, 1, n)])
    names = pd.Index(["NT", *(f"target{i}" for i in range(n))], name="gene")
    distance = np.concatenate([[0.0], rng.gamma(2, size=n)])
    columns = {"distance": distance, "pvalue": p / 2 + (p == 1) / 2, "significant": p < 0.1}
    return pd.DataFrame(columns | {"pvalue_adj": p, "significant_adj": p < 0.05}, index=names)


@pytest.mark.parametrize("n", [1, 2, 3, 300])
def test_heatmap_shows_the_table_in_the_order_of_its_names(n):
    distances = table(n)
    ax = pl.distance_heatmap(distances)
    shown = np.asarray(ax.images[0].get_array())
    ticks = {round(tick): label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert len(ticks) == n if n < 10 else 10 < len(ticks) < n  # thinned
    at = {name: distances.index.get_loc(name) for name in ticks.values()}
    for row, name in ticks.items():
        for column, other in ticks.items():
            assert shown[row, column] == distances.to_numpy()[at[name], at[other]]
    assert np.sort(shown, axis=None) == pytest.approx(np.sort(distances.to_numpy(), axis=None))


def test_heatmap_tree_is_that_of_the_distances():
    distances = table(6)
    figure = pl.distance_heatmap(distances, return_fig=True)
    tree, main = figure.axes[:2]
    heights = sorted(segment[1][1] for segment in tree.collections[0].get_segments())
    assert heights == pytest.approx(sorted(linkage(squareform(distances.to_numpy()), "average")[:, 2]))
    # Neighbours in the tree: the pair that joins first stands side by side.
    order = [label.get_text() for label in main.get_yticklabels()]
    joined = squareform(cophenet(linkage(squareform(distances.to_numpy()), "average"))) + 99 * np.eye(6)
    i, j = np.unravel_index(joined.argmin(), joined.shape)
    assert abs(order.index(f"target{i}") - order.index(f"target{j}")) == 1


@pytest.mark.parametrize("n", [3, 300])
def test_onesided_points_ends_and_stars(n):
    found, tests = onesided(n), table_of_tests(n)
    figure = pl.onesided_distances(found, tests=tests, return_fig=True)
    names, points, ends, stars = [], [], [], []
    for ax in figure.axes:
        names += [label.get_text() for label in ax.get_yticklabels()]
        points += ax.collections[1].get_offsets()[:, 0].tolist()
        ends += [[segment[0][0], segment[1][0]] for segment in ax.collections[0].get_segments()]
        stars += [text.get_text() for text in ax.texts]
    mean, _, low, high = (part.drop("NT").sort_values(ascending=False) for part in found)
    assert names == list(mean.index)
    assert points == pytest.approx(mean.to_list())
    np.testing.assert_allclose(ends, np.stack([low[mean.index], high[mean.index]], 1))
    p = tests["pvalue_adj"][mean.index]
    assert stars == ["***" if q < 0.001 else "**" if q < 0.01 else "*" for q in p if q < 0.05]
    assert figure.get_figheight() < 20
    assert figure.get_figwidth() < 24


def test_onesided_without_interval_shows_one_standard_deviation():
    mean, variance = onesided(4)[:2]
    ax = pl.onesided_distances((mean, variance))
    order = [label.get_text() for label in ax.get_yticklabels()]
    widths = [segment[1][0] - segment[0][0] for segment in ax.collections[0].get_segments()]
    assert widths == pytest.approx((2 * np.sqrt(variance[order])).to_list())


@pytest.mark.parametrize("n", [3, 300])
def test_volcano_colours_what_the_table_calls_significant(n):
    tests = table_of_tests(n)
    ax = pl.volcano(tests, threshold=0.05)
    for shown, chosen in zip(ax.collections[:2], (False, True), strict=True):
        rows = tests.drop("NT")[tests["significant_adj"].drop("NT") == chosen]
        expected = sorted(zip(rows["distance"], -np.log10(rows["pvalue_adj"]), strict=True))
        found = sorted(map(tuple, shown.get_offsets()))
        assert len(found) == len(expected)
        np.testing.assert_allclose(np.reshape(found, -1), np.reshape(expected, -1))
    names = [text.get_text() for text in ax.texts if text.get_text().startswith("target")]
    assert set(names) <= set(tests.index[tests["significant_adj"]])
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text() in names]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_own_axes_are_used_and_returned():
    from matplotlib.figure import Figure

    for draw, argument in (
        (pl.distance_heatmap, table(4)),
        (pl.volcano, table_of_tests(80)),
        (pl.onesided_distances, onesided(80)),
    ):
        ax = Figure().subplots()
        assert draw(argument, ax=ax) is ax
        assert draw(argument, ax=ax, return_fig=True) is ax.figure


def test_a_returned_figure_is_not_one_of_pyplots():
    from matplotlib import pyplot as plt

    pl.volcano(table_of_tests(3), return_fig=True)
    assert plt.get_fignums() == []
    pl.volcano(table_of_tests(3))
    assert len(plt.get_fignums()) == 1


def rectangle() -> pd.DataFrame:
    return table(3).iloc[:2]


ERRORS = [
    (lambda: pl.distance_heatmap(rectangle()), ValueError, r"not a square table \(\(2, 3\)"),
    (lambda: pl.distance_heatmap(table(3).iloc[[1, 0, 2]]), ValueError, "other groups in its rows"),
    (lambda: pl.distance_heatmap(table(3).replace(0.0, np.nan)), ValueError, "nan at 'target0', 'target0'"),
    (lambda: pl.onesided_distances(table(3)), TypeError, "is a DataFrame"),
    (lambda: pl.onesided_distances(onesided(0)[0]), ValueError, "no group beside the reference 'NT'"),
    (lambda: pl.onesided_distances(onesided(3)[0], tests=table_of_tests(2)), ValueError, "tests lacks group 'target2'"),
    (lambda: pl.onesided_distances(onesided(3)[0], tests=table(3)), ValueError, "no column 'pvalue_adj'"),
    (lambda: pl.volcano(table(3)), ValueError, "no column 'distance'"),
    (lambda: pl.volcano(table_of_tests(3).assign(pvalue_adj=0.0)), ValueError, r"outside \(0, 1\]"),
    (lambda: pl.volcano(table_of_tests(3), threshold=5), ValueError, "threshold=5"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors_leave_no_figure(call, kind, message):
    from matplotlib import pyplot as plt

    with pytest.raises(kind, match=message):
        call()
    assert plt.get_fignums() == []


def test_a_notebook_shows_a_returned_figure():
    figure = pl.volcano(table_of_tests(3), return_fig=True)
    for shown in (figure, pickle.loads(pickle.dumps(figure))):
        assert shown._repr_png_().startswith(b"\x89PNG")
