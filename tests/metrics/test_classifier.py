from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

import pertorch
from pertorch.solvers.logistic import MOST_FEATURES, fit_binary
from testing.pertorch import assert_close


def test_proba_is_a_logistic_regression(screen, parts):
    """Which cells were held out shows in no other way than by trying: leave-one-out of a group of 5."""
    x, y = parts("log")["a"], parts("log")["b"][:5]
    possible = []
    for held_out in range(5):
        seen = np.delete(y, held_out, axis=0)
        model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(np.concatenate([x, seen]), [0] * len(x) + [1] * 4)
        possible.append(model.predict_proba(y[held_out : held_out + 1])[0, 1])
    found = {pertorch.Distance("classifier_proba", random_state=seed)(x, y) for seed in range(40)}
    nearest = [min(possible, key=lambda p: abs(p - value)) for value in found]
    assert_close(list(found), nearest, rel=1e-6)
    assert set(nearest) == set(possible)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (30.0, 1.0), (0.5, 100.0), (0.5, 0.01)])
def test_newton_finds_the_optimum(shift, scale):
    """Of classes that overlap, and of some that a plane parts: there the whole first step would lead away."""
    random = np.random.default_rng(0)
    labels = (np.arange(90) >= 60).astype(np.int64)
    rows = (random.normal(size=(90, 7)) + shift * labels[:, None]) * scale + 3
    model = LogisticRegression(tol=1e-13, solver="newton-cholesky", max_iter=1000).fit(rows, labels)
    found = fit_binary(rows, labels, 100)
    assert found.converged
    assert_close(
        found.weights, np.append(model.coef_[0], model.intercept_)[None], rel=1e-6, scale=abs(model.coef_).max()
    )
    assert np.array_equal(fit_binary(sp.csr_matrix(rows), labels, 100).weights, found.weights)


def test_of_many_features_the_optimum_is_scikit_learns():
    rows, labels = np.random.default_rng(0).normal(size=(40, MOST_FEATURES + 1)), np.arange(40) % 2
    found = fit_binary(rows, labels, 100).probabilities(rows)
    assert_close(found, LogisticRegression().fit(rows, labels).predict_proba(rows), rel=1e-6)


def test_proba_is_seeded(screen):
    def run(seed, **kwargs):
        distance = pertorch.Distance("classifier_proba", layer_key="log", random_state=seed)
        return distance.onesided_distances(screen, "target", "ctrl", **kwargs)

    assert run(0).equals(run(0))
    assert not run(0).equals(run(1))
    # neither the verb nor the other groups change which cells are held out
    assert run(0, groups=["b"])["b"] == run(0)["b"]
    table = pertorch.Distance("classifier_proba", layer_key="log").pairwise(screen, "target")
    assert table.loc["b", "ctrl"] == run(0)["b"]


@pytest.mark.parametrize("metric", ["classifier_proba", "classifier_cp"])
def test_storage_does_not_show(screen, metric):
    tables = [pertorch.Distance(metric, layer_key=layer).pairwise(screen, "target") for layer in ("log32", "log32_csr")]
    assert_close(*tables, rel=1e-6)


def test_cp_is_one_regression_of_all_groups(screen, parts):
    x = parts("log")
    found = pertorch.Distance("classifier_cp", layer_key="log").onesided_distances(screen, "target", "ctrl")
    others = ["a", "b", "c"]
    model = LogisticRegression().fit(
        np.concatenate([x[g] for g in others]), np.repeat(np.arange(3), [len(x[g]) for g in others])
    )
    assert_close(found[others], 1 - model.predict_proba(x["ctrl"]).mean(0), rel=1e-6)
    assert found["ctrl"] == 0
    table = pertorch.Distance("classifier_cp", layer_key="log").pairwise(screen, "target")
    assert_close(table["ctrl"], found, rel=1e-12)


def test_cp_needs_two_groups(screen):
    with pytest.raises(ValueError, match=r"at least two groups besides the reference 'ctrl'"):
        pertorch.Distance("classifier_cp", layer_key="log").onesided_distances(screen, "target", "ctrl", groups=["a"])
    with pytest.raises(ValueError, match=r"at least two groups besides the reference 'Y'"):
        pertorch.Distance("classifier_cp")(np.eye(3), np.eye(3))


def test_no_convergence_is_told(screen):
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning):
        pertorch.Distance("classifier_proba", layer_key="log", max_iter=1).onesided_distances(screen, "target", "ctrl")
