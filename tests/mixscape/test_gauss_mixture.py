from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest
import scipy.stats
import torch

from pertorch.ops import two_normals
from pertorch.solvers.gauss_mixture import Mixture, fit_mixtures


def problem(rng, n_known=400, n=200):
    """Half a screen: controls, and cells of which some respond. Padded to a common length."""
    known = rng.normal(0, 1, n_known)
    responds = rng.random(n) < rng.choice([0.2, 0.5, 0.9])
    cells = np.where(responds, rng.normal(rng.choice([1.5, 2.5, 4]), rng.choice([0.5, 1, 1.5]), n), rng.normal(0, 1, n))
    return np.concatenate([known, cells]), known.mean(), known.var(ddof=1), cells.mean(), cells.var(ddof=1)


def expectation_maximisation(t, known_mean, known_variance, mean, variance):
    """The plain algorithm, until nothing moves."""
    weight = 0.5
    for _ in range(20_000):
        free = weight * np.exp(-((t - mean) ** 2) / 2 / variance) / variance**0.5
        fixed = (1 - weight) * np.exp(-((t - known_mean) ** 2) / 2 / known_variance) / known_variance**0.5
        r = free / (free + fixed)
        n = r.sum()
        after = n / len(t), (r @ t) / n, r @ (t - (r @ t) / n) ** 2 / n
        moved = max(abs(a - b) for a, b in zip(after, (weight, mean, variance), strict=True))
        weight, mean, variance = after
        if moved < 1e-12:
            break
    return weight, mean, variance, r


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
WAYS = [
    pytest.param(("_torch", "cpu"), id="torch"),
    pytest.param(("_torch", "cuda"), id="torch-cuda", marks=pytest.mark.gpu),
    pytest.param(("_triton", "cuda"), id="triton-cuda", marks=pytest.mark.gpu),
]
WAYS = [pytest.param(("_triton", "cpu"), id="triton-interpreter")] if INTERPRETED else WAYS


@pytest.fixture(params=WAYS)
def fit(request, monkeypatch):
    """Fit problems of any lengths with one implementation: the mixtures, and the points as padded."""
    module, device = request.param
    monkeypatch.setattr(two_normals, "maximize", import_module(f"pertorch.ops.two_normals.{module}").maximize)

    def run(problems, **options):
        n = max(len(p[0]) for p in problems)
        points, inside = np.zeros((len(problems), n)), np.zeros((len(problems), n), dtype=bool)
        for b, (t, *_) in enumerate(problems):
            points[b, : len(t)], inside[b, : len(t)] = t, True
        start = (torch.tensor([p[i] for p in problems], dtype=torch.float64).to(device) for i in range(1, 5))
        data = (torch.from_numpy(part).to(device) for part in (points, inside))
        return Mixture(*(part.cpu() for part in fit_mixtures(*data, *start, **options))), points

    return run


def likelihood(t, known_mean, known_variance, weight, mean, variance):
    free = weight * scipy.stats.norm.pdf(t, mean, variance**0.5)
    return np.log(free + (1 - weight) * scipy.stats.norm.pdf(t, known_mean, known_variance**0.5)).sum()


def test_it_is_where_em_comes_to_rest_or_better(fit):
    """Where the likelihood has several maxima, never a lower one than EM's."""
    rng = np.random.default_rng(0)
    problems = [problem(rng, n=int(rng.integers(50, 300))) for _ in range(4 if INTERPRETED else 30)]
    found, points = fit(problems)
    assert bool(found.converged.all())
    posterior = found.posterior(torch.from_numpy(points)).numpy()
    elsewhere = 0
    for b, p in enumerate(problems):
        *expected, r = expectation_maximisation(*p)
        ours = [float(x[b]) for x in (found.weight, found.mean, found.variance)]
        gain = likelihood(*p[:3], *ours) - likelihood(*p[:3], *expected)
        assert gain > -1e-6
        if gain > 1e-4:
            elsewhere += 1
            continue
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posterior[b, : len(r)], r, atol=1e-4)
    assert elsewhere <= 3


def test_a_mixture_does_not_depend_on_the_others(fit):
    rng = np.random.default_rng(1)
    problems = [problem(rng) for _ in range(5)]
    together, _ = fit(problems)
    for b, p in enumerate(problems):
        alone, _ = fit([p])
        np.testing.assert_allclose(alone.mean, together.mean[b : b + 1], rtol=1e-6)


def test_no_start_matters_where_the_components_are_apart(fit):
    t, known_mean, known_variance, mean, variance = problem(np.random.default_rng(2))
    found, _ = fit([(t, known_mean, known_variance, m, v) for m in (mean, 1.0, 5.0) for v in (0.3, variance)])
    np.testing.assert_allclose(found.mean, float(found.mean[0]), rtol=1e-6)


def test_identical_points_do_not_end_in_a_spike(fit):
    t = np.concatenate([np.random.default_rng(3).normal(0, 1, 100), np.full(50, 3.0)])
    found, _ = fit([(t, 0.0, 1.0, 3.0, 1e-6)])
    assert float(found.variance[0]) >= 1e-6
    assert float(found.weight[0]) == pytest.approx(1 / 3, abs=0.02)


def test_too_few_steps_are_told(fit):
    found, _ = fit([problem(np.random.default_rng(4))], max_iter=2)
    assert not bool(found.converged.any())
