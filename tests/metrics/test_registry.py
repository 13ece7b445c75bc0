from __future__ import annotations

import doctest
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import pertorch
from pertorch.metrics import METRICS, ArrayMetric, CentroidMetric, Metric, list_metrics, register
from testing.pertorch import assert_close

NOT_SYMMETRIC = {"r2_distance", "nb_ll", "mahalanobis", "classifier_proba", "classifier_cp"}
SCORES = {"nb_ll", "classifier_proba", "classifier_cp", "mean_pairwise", "wasserstein"}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr("pertorch.metrics._registry.METRICS", METRICS)
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def test_what_is_listed():
    listed = {m.name: m for m in list_metrics()}
    assert set(listed) == set(METRICS)
    assert {name for name, m in listed.items() if not m.symmetric} == NOT_SYMMETRIC
    assert listed["nb_ll"].needs.counts
    assert listed["mahalanobis"].needs.full_rank
    assert listed["t_test"].needs.left_cells == listed["t_test"].needs.right_cells == 2
    assert "agg_fct" in listed["euclidean"].options
    assert "random_state" in listed["classifier_proba"].options
    assert all(m.summary.endswith((".", ":")) or m.summary for m in listed.values())


def test_what_is_a_distance(screen):
    """A metric that says so is 0 between a group and itself, and positive between two."""
    for m in list_metrics():
        if m.name in SCORES:
            continue
        assert m.is_distance
        x, y = screen.layers["log"][:30], screen.layers["log"][42:87]
        distance = pertorch.Distance(m.name)
        assert distance(x, y) > 1e-4
        assert distance(x, x) < 1e-12


def test_own_centroid_metric(screen):
    @register
    @dataclass(frozen=True)
    class Largest(CentroidMetric):
        """Largest difference of the means, scaled."""

        name = "largest"
        scale: float = 1.0

        def between(self, x, y):
            return self.scale * (x - y).abs().amax(-1)

    distance = pertorch.Distance("largest", layer_key="log", scale=2.0)
    x = screen.layers["log"]
    expected = 2 * abs(x[:30].mean(0) - x[30:42].mean(0)).max()
    assert_close(distance.onesided_distances(screen, "target", "ctrl")["a"], expected, rel=1e-12)
    assert distance.onesided_distances(screen, "target", "ctrl", bootstrap=True)[1]["a"] > 0
    assert pertorch.Distance("largest", agg_fct=np.median)._metric.agg_fct is np.median
    assert "largest" in {m.name for m in list_metrics()}


def test_own_array_metric(screen):
    class Range(ArrayMetric):
        """Difference of the ranges."""

        name = "range"

        def between(self, x, y):
            return float(abs(np.ptp(x) - np.ptp(y)))

    register(Range)
    table = pertorch.Distance("range", layer_key="log_csr").pairwise(screen, "target")
    x = screen.layers["log"]
    assert_close(table.loc["a", "b"], abs(np.ptp(x[30:42]) - np.ptp(x[42:87])), rel=1e-12)


def test_refusals():
    class NoName(ArrayMetric):
        def between(self, x, y):
            return float(x.sum() - y.sum())

    class NoBetween(ArrayMetric):
        name = "no_between"

    class Taken(NoName):
        name = "euclidean"

    with pytest.raises(ValueError, match="NoName has no name"):
        register(NoName)
    with pytest.raises(ValueError, match="NoBetween does not say how to do: between"):
        register(NoBetween)
    with pytest.raises(ValueError, match="name='euclidean' is taken by"):
        register(Taken)
    assert METRICS["euclidean"] is not Taken
    assert issubclass(METRICS["euclidean"], Metric)


def test_a_class_made_again_takes_its_own_place():
    def make():
        class Again(ArrayMetric):
            name = "again"

            def between(self, x, y):
                return float(x.sum() - y.sum())

        return Again

    first, second = register(make()), register(make())
    assert first is not second
    assert METRICS["again"] is second


@pytest.mark.parametrize("value", ["median", 3])
def test_agg_fct_must_be_a_function(value):
    with pytest.raises(ValueError, match="is not a function"):
        pertorch.Distance("euclidean", agg_fct=value)


def test_agg_fct_must_reduce_cells():
    with pytest.raises(ValueError, match=r"gave shape \(5, 3\) for 3 features"):
        pertorch.Distance("euclidean", agg_fct=np.cumsum)(np.ones((5, 3)), np.ones((5, 3)))


def test_page():
    page = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0
