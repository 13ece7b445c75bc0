"""The other mixtures: each is the maximum of the posterior that its docstring states, cell by cell."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize as scipy_minimize
from scipy.special import expit, gammaln, log_expit, logsumexp

from pertorch.ops.histogram import Tally
from pertorch.solvers import FAMILIES, Strata, fit_beta, fit_depth_mixture, fit_gauss
from pertorch.solvers._gauss import _Rows
from pertorch.solvers._newton import minimize

N = 1500


def guides(seed=0):
    """Counts of three guides in N cells."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson([0.1, 0.4, 0.05], (N, 3))
    for g, (n, size) in enumerate(((150, 30), (60, 80), (400, 12))):
        counts[rng.choice(N, n, replace=False), g] += rng.poisson(size * rng.lognormal(0, 0.4, n))
    return counts


def histograms(codes, present):
    tally = Tally(codes.shape[1])
    row, column = np.nonzero(present)
    tally.add(torch.from_numpy(column), torch.from_numpy(codes[row, column]))
    return tally.histograms()


def by_depth(counts, depth, batch):
    """Strata of cells, and histograms of each guide in each batch: those of the first batch have fewer strata."""
    n_batches, depths = batch.max() + 1, np.unique(depth)
    strata = Strata(*torch.zeros(2, n_batches, len(depths), dtype=torch.float64))
    place = np.zeros(N, dtype=np.int64)
    for b in range(n_batches):
        values, place[batch == b], cells = np.unique(depth[batch == b], return_inverse=True, return_counts=True)
        strata.depth[b, : len(values)], strata.cells[b, : len(values)] = map(torch.from_numpy, (values, cells))
    codes, present = (np.zeros((N, counts.shape[1] * n_batches), dtype=np.int64) for _ in range(2))
    columns = np.arange(counts.shape[1]) * n_batches + batch[:, None]
    np.put_along_axis(codes, columns, counts * len(depths) + place[:, None], 1)
    np.put_along_axis(present, columns, counts > 0, 1)
    return strata, histograms(codes, present)


def at_most_any_local_minimum(loss, objective, points, bounds):
    best = min(scipy_minimize(objective, x, method="L-BFGS-B", bounds=bounds).fun for x in points)
    assert loss <= best + 1e-6 * abs(best)


class TestGauss:
    @staticmethod
    def objective(y, x):
        mu0, mu1, log_std, logit = x
        log_w0, log_w1 = -np.logaddexp(0, logit), -np.logaddexp(0, -logit)
        std = np.exp(log_std)
        density = np.logaddexp(log_w0 + stats.norm.logpdf(y, mu0, std), log_w1 + stats.norm.logpdf(y, mu1, std))
        prior = -((mu0 - 1) ** 2 + (mu1 - 1) ** 2) / 8 - log_std - (log_std + 3) ** 2 / 8
        return -(density.sum() + prior - 0.01 * log_w0 - 0.99 * log_w1)

    @pytest.mark.parametrize("nonzero", [False, True])
    def test_is_the_optimum_and_the_threshold_its_crossing(self, nonzero):
        counts = guides()
        found = histograms(counts, counts > 0)
        fits = fit_gauss(found, None if nonzero else N - found.total(), max_iter=200, tol=1e-8)
        assert fits.converged.all()
        rng = np.random.default_rng(0)
        for g in range(3):
            x = counts[:, g][counts[:, g] > 0] if nonzero else counts[:, g]
            y = np.log10(x + 1)
            low, high, std, weight = (float(v[g]) for v in fits[:4])
            logit = np.log(weight / (1 - weight))
            named = ([low, high, np.log(std), logit], [high, low, np.log(std), -logit])  # the prior tells them apart
            assert fits.loss[g].item() == pytest.approx(min(self.objective(y, x) for x in named), rel=1e-9)
            points = rng.uniform([0, 0.5, -3, -4], [0.5, 2.5, 0, 1], (8, 4))
            bounds = [(-1, 12), (-1, 12), (np.log(0.01), 3), (-np.log(len(y) - 1), np.log(len(y) - 1))]
            at_most_any_local_minimum(fits.loss[g].item(), lambda v, y=y: self.objective(y, v), points, bounds)
            grid = np.log10(np.arange(1, x.max() + 1) + 1)
            higher = stats.norm.logpdf(grid, high, std) + np.log(weight)
            lower = stats.norm.logpdf(grid, low, std) + np.log1p(-weight)
            assert fits.threshold[g] == 1 + np.flatnonzero(higher > lower)[0]

    def test_derivatives_are_those_of_the_loss(self):
        y = torch.log10(torch.arange(0, 30, dtype=torch.float64) + 1).expand(3, -1)
        rows = _Rows(y, torch.from_numpy(np.random.default_rng(0).integers(0, 50, (3, 30)).astype(np.float64)))
        x = torch.tensor([[0.1, 1.2, -1.0, 0.3], [0.5, 0.9, -0.5, -1.0], [1.0, 0.2, -0.3, 1.0]], dtype=torch.float64)
        _, gradient, hessian = rows(x)
        for i in range(4):
            unit = torch.zeros(4, dtype=torch.float64)
            unit[i] = 1e-5
            above, below = rows(x + unit), rows(x - unit)
            torch.testing.assert_close(gradient[:, i], (above[0] - below[0]) / 2e-5, rtol=1e-5, atol=1e-4)
            torch.testing.assert_close(hessian[:, i], (above[1] - below[1]) / 2e-5, rtol=1e-5, atol=1e-3)

    def test_what_cannot_be_fitted_is_left_out(self):
        counts = np.zeros((40, 3), dtype=np.int64)
        counts[:, 0], counts[:5, 1] = np.r_[np.zeros(30), np.full(10, 20)], 1
        fits = fit_gauss(histograms(counts, counts > 0), torch.tensor([30, 35, 40]), max_iter=200, tol=1e-8)
        assert fits.loss.isnan().tolist() == [False, True, True]
        assert 1 <= fits.threshold[0] <= 20


class TestBeta:
    @staticmethod
    def objective(share, c, x, exponent):
        log_weight = np.r_[0, x[2 * c :]] - logsumexp(np.r_[0, x[2 * c :]])
        alpha, beta = np.exp(x[:c]), np.exp(x[c : 2 * c])
        density = logsumexp(log_weight[:, None] + stats.beta.logpdf(share, alpha[:, None], beta[:, None]), 0)
        prior = -(x[: 2 * c] + (x[: 2 * c] - 1) ** 2 / 2).sum() + ((np.array(exponent) - 1) * log_weight).sum()
        return -(density.sum() + prior)

    @pytest.mark.parametrize(("c", "exponent"), [(2, (0.6, 0.4)), (3, (0.3, 0.3, 0.4))])
    def test_is_a_local_optimum(self, c, exponent):
        rng = np.random.default_rng(0)
        share = np.round(np.r_[rng.beta(3, 6, 300), rng.beta(12, 12, 200), rng.beta(20, 1, 1500)], 3).clip(
            1e-4, 1 - 1e-4
        )
        distinct, times = np.unique(share, return_counts=True)
        fit = fit_beta(torch.from_numpy(distinct), torch.from_numpy(times), c, max_iter=300, tol=1e-8)
        assert fit.converged
        x = torch.cat([fit.alpha.log(), fit.beta.log(), (fit.weight[1:] / fit.weight[0]).log()]).numpy()
        assert fit.loss == pytest.approx(self.objective(share, c, x, exponent), rel=1e-10)
        bounds = [(-5, 5)] * (2 * c) + [(-7, 7)] * (c - 1)
        at_most_any_local_minimum(fit.loss, lambda v: self.objective(share, c, v, exponent), [x], bounds)
        assert 0.5 <= fit.threshold < 1

    def test_nothing_above(self):
        fit = fit_beta(torch.tensor([0.02, 0.03]), torch.tensor([50, 50]), 3, max_iter=300, tol=1e-6)
        assert np.isnan(fit.threshold) or fit.threshold >= 0.5


class TestDepth:
    @staticmethod
    def objective(family, count, depth, batch, n_batches, x):
        intercept, log_effect, logit, shift = x[0], x[1], x[2], x[3 : 3 + n_batches]
        eta = intercept + shift[batch]
        terms = []
        for k, log_w in ((0, -np.logaddexp(0, logit)), (1, -np.logaddexp(0, -logit))):
            rate = eta + k * np.exp(log_effect)
            if family == "binomial":
                choices = gammaln(depth + 1) - gammaln(count + 1) - gammaln(depth - count + 1)
                density = choices + count * log_expit(rate) + (depth - count) * log_expit(-rate)
            elif family == "poisson":
                density = stats.poisson.logpmf(count, np.exp(rate) * (depth + 1))
            else:
                theta, mean = np.exp(x[-1]), np.exp(rate) * (depth + 1)
                density = gammaln(count + theta) - gammaln(theta) - gammaln(count + 1)
                density += theta * np.log(theta / (theta + mean)) + count * np.log(mean / (theta + mean))
            terms.append(log_w + density)
        sd = 3 if family == "poisson" else 2
        prior = -((intercept / sd) ** 2) / 2 - log_effect - (log_effect - 1) ** 2 / 8
        prior += -9 * np.logaddexp(0, logit) - (shift**2).sum() / 2
        if family == "negative_binomial":
            prior += -x[-1] - (x[-1] - 1) ** 2 / 2
        return -(np.logaddexp(*terms).sum() + prior)

    @pytest.mark.parametrize("n_batches", [1, 2])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_is_the_optimum_over_all_cells(self, family, n_batches):
        counts = guides()
        rng = np.random.default_rng(1)
        batch = rng.integers(0, n_batches, N)
        depth = counts.sum(1) + rng.integers(0, 4, N)  # some more guides, not looked at here
        strata, found = by_depth(counts, depth, batch)
        fits = fit_depth_mixture(FAMILIES[family], found, strata, max_iter=100, tol=1e-7)
        assert fits.converged.all()
        for g in range(3):
            tail = fits.dispersion[g : g + 1].log() if family == "negative_binomial" else fits.loss[:0]
            head = torch.stack([fits.intercept[g], fits.effect[g].log(), torch.logit(fits.weight[g])])
            x = torch.cat([head, fits.batch[g], tail]).numpy()
            f = lambda v, g=g: self.objective(family, counts[:, g], depth, batch, n_batches, v)  # noqa: E731
            assert fits.loss[g].item() == pytest.approx(f(x), rel=1e-9)
            around = x + rng.normal(0, 0.3, (4, len(x)))
            at_most_any_local_minimum(
                fits.loss[g].item(), f, [x, *around], [(-40, 40), (-40, 5)] + [(-40, 40)] * (len(x) - 2)
            )

    def test_posterior_is_that_of_the_parameters(self):
        counts = guides()
        depth = counts.sum(1)
        strata, found = by_depth(counts, depth, np.zeros(N, dtype=np.int64))
        fits = fit_depth_mixture(FAMILIES["poisson"], found, strata, max_iter=100, tol=1e-7)
        for g in range(3):
            entries = slice(*found.offsets[g : g + 2].tolist())
            x, s = np.divmod(found.values[entries].numpy(), strata.depth.shape[1])
            mean = np.exp(float(fits.intercept[g] + fits.batch[g, 0])) * (strata.depth[0, s].numpy() + 1)
            without = stats.poisson.logpmf(x, mean) + np.log1p(-float(fits.weight[g]))
            has = stats.poisson.logpmf(x, mean * np.exp(float(fits.effect[g]))) + np.log(float(fits.weight[g]))
            np.testing.assert_allclose(fits.posterior[entries], expit(has - without), rtol=1e-7, atol=1e-300)


def test_unbounded_problems_need_no_kin():
    """A plain bowl, with the defaults."""
    start = torch.full((3, 2), 5.0, dtype=torch.float64)
    bowl = lambda _: lambda x: ((x**2).sum(1), 2 * x, 2 * torch.eye(2).double().expand(len(x), 2, 2))  # noqa: E731
    found = minimize(bowl, start, start - 100, start + 100, max_iter=50, tol=1e-9)
    assert found.x.abs().max() < 1e-9
