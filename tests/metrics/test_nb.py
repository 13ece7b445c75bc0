"""The negative binomial: fits and likelihoods against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import optimize, stats

import pertorch
from pertorch.ops.ranks import tally
from pertorch.solvers import negative_binomial
from pertorch.solvers.negative_binomial import Survival, fit_size
from testing.pertorch import assert_close


def log_likelihood(x, size, mean):
    return stats.nbinom.logpmf(x, size, size / (size + mean))


def best_size(x):
    result = optimize.minimize_scalar(
        lambda t: -log_likelihood(x, np.exp(t), x.mean()).sum(),
        bounds=(-12, 20),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return np.exp(result.x)


def nb_ll(x, y):
    genes = []
    for j in range(x.shape[1]):
        a, b = x[:, j], y[:, j]
        if a.max() == 0:
            genes.append(0.0 if b.mean() < 10 else np.nan)
        elif a.var() > a.mean():
            genes.append(log_likelihood(b, best_size(a), a.mean()).mean())
        else:
            genes.append(np.nan)
    return -np.nanmean(genes)


def survival_of(columns):
    columns = [torch.as_tensor(c, dtype=torch.float64) for c in columns]
    slots = torch.repeat_interleave(torch.tensor([len(c) for c in columns]))
    values = torch.cat(columns)
    t = tally(slots, values, range(len(columns)), table=torch.unique(values))
    n = torch.tensor([len(c) for c in columns])
    return Survival.of(t.values, torch.repeat_interleave(n, t.lengths) - t.below, t.lengths), n.double()


def columns():
    random = np.random.default_rng(0)
    cases = [(0.05, 0.5), (0.5, 0.1), (2, 1), (10, 3), (40, 0.3), (300, 5), (5000, 2), (3, 60)]
    draws = [random.negative_binomial(r, r / (r + m), size=400).astype(float) for m, r in cases]
    return [c for c in draws if c.var() > c.mean()]


def test_sizes_maximise_the_likelihood():
    data = columns()
    survival, n = survival_of(data)
    mean, variance = (torch.tensor([f(c) for c in data]) for f in (np.mean, np.var))
    size = fit_size(survival, n, mean, variance)
    assert len(data) >= 7
    for c, fitted in zip(data, size.tolist(), strict=True):
        best, here = (log_likelihood(c, r, c.mean()).sum() for r in (best_size(c), fitted))
        assert here >= best - 1e-9 * abs(best)
        slope = sum(log_likelihood(c, fitted * f, c.mean()).sum() * s for f, s in ((1 + 1e-4, 1), (1 - 1e-4, -1)))
        assert abs(slope) < 1e-6


def test_barely_overdispersed():
    """The size is large, the likelihood flat, and lnΓ(x + r) − lnΓ(r) would lose its digits."""
    x = np.repeat(np.arange(7.0), [369, 368, 184, 61, 15, 3, 1])
    assert x.mean() < x.var() < 1.005 * x.mean()
    survival, n = survival_of([x])
    size = float(fit_size(survival, n, torch.tensor([x.mean()]), torch.tensor([x.var()])))
    assert size > 100
    assert_close(size, best_size(x), rel=1e-3)


@pytest.mark.parametrize("longest", [0, 1, 4, 10**9])
def test_stretches_in_closed_form(monkeypatch, longest):
    expected = [[np.sum(_rising(c, r, k)) for c in columns()] for r in (0.01, 1.0, 300.0) for k in range(3)]
    monkeypatch.setattr(negative_binomial, "LONGEST", longest)
    survival, _ = survival_of(columns())
    found = []
    for r in (0.01, 1.0, 300.0):
        size = torch.full_like(survival.start, r)
        found += [survival.log_rising(size), *survival.slopes(size)]
    assert_close(torch.stack(found), np.array(expected), rel=1e-9)


def _rising(x, r, derivative):
    j = np.arange(x.max())
    more = (x[:, None] > j).sum(0)
    return more * (np.log(r + j), 1 / (r + j), -1 / (r + j) ** 2)[derivative]


@pytest.mark.parametrize("layer", ["counts", "counts_csr", "counts32", "counts32_csr"])
def test_pairwise(screen, parts, layer):
    table = pertorch.Distance("nb_ll", layer_key=layer).pairwise(screen, "target")
    x = parts("counts")
    assert_close(table, [[0 if g == h else nb_ll(x[g], x[h]) for h in table.columns] for g in table.index], rel=1e-6)


def test_genes_that_are_left_out():
    random = np.random.default_rng(4)
    x, y = (random.negative_binomial(1, 0.3, size=(n, 6)).astype(float) for n in (60, 50))
    x[:, 0], y[:, 0] = 0, random.poisson(3, 50)  # counts 0
    x[:, 1], y[:, 1] = 0, 10 + random.poisson(3, 50)  # NaN
    x[:, 2] = 2  # not overdispersed
    for store in (np.asarray, sp.csr_matrix):
        assert_close(pertorch.Distance("nb_ll")(store(x), store(y)), nb_ll(x, y), rel=1e-6)
    x[:, 3] = 1
    assert_close(pertorch.Distance("nb_ll")(x, y), nb_ll(x, y), rel=1e-6)  # exactly half
    x[:, 4] = 1
    with pytest.raises(ValueError, match=r"nb_ll: 4 of 6 genes could not be fit in group 'X', which is over half"):
        pertorch.Distance("nb_ll")(x, y)


@pytest.mark.parametrize("value", [0.5, -1.0])
@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix])
def test_raw_counts_only(value, store):
    x = np.random.default_rng(5).negative_binomial(1, 0.3, size=(20, 4)).astype(float)
    x[3, 2] = value
    with pytest.raises(ValueError, match=rf"nb_ll needs raw counts, and X and Y holds {value:g}"):
        pertorch.Distance("nb_ll")(store(x), store(abs(np.round(x))))


def test_nearly_whole_numbers_are_counts():
    x, y = (np.random.default_rng(s).negative_binomial(1, 0.3, size=(20, 4)).astype(float) for s in (6, 7))
    assert pertorch.Distance("nb_ll")(x + 1e-7 * (x > 0), y) == pertorch.Distance("nb_ll")(x, y)
