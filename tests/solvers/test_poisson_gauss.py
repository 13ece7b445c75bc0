"""The mixture's posterior, its derivatives, and where it is greatest."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize as scipy_minimize
from scipy.special import gammaln

from pertorch.ops.histogram import Tally
from pertorch.solvers import fit_guides
from pertorch.solvers._poisson_gauss import GuideParameters, PoissonGauss, log_floor, log_odds, parameters, point
from pertorch.solvers._splits import starts


def histograms(*guides):
    """From lists of non-zero counts."""
    tally = Tally(len(guides))
    for i, counts in enumerate(guides):
        tally.add(torch.full((len(counts),), i), torch.as_tensor(np.asarray(counts)))
    return tally.histograms()


def sample(ambient, positives, signal, seed=0, n=3000):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < positives
    counts = rng.poisson(ambient, n) + np.where(positive, rng.poisson(signal * rng.lognormal(-0.1, 0.5, n)), 0)
    return counts[counts > 0]


def negative_log_posterior(counts, rate, mean, std, weight):
    """As SPEC'd, cell by cell, in scipy; the priors' normalising constants left out."""
    y = np.log2(counts)
    background = np.log1p(-weight) + y * np.log(rate) - rate - gammaln(y + 1)
    signal = np.log(weight) + stats.norm.logpdf(y, mean, std)
    prior = (
        -0.1 * np.log1p(-weight)
        - 0.9 * np.log(weight)
        - (mean - 3) ** 2 / 8
        - np.log(std)
        - (np.log(std) - 2) ** 2 / 2
        - np.log(rate)
        - np.log(rate) ** 2 / 2
    )
    return -(np.logaddexp(background, signal).sum() + prior)


GUIDES = [sample(0.05, 0.1, 30), sample(0.5, 0.02, 100, 1), sample(0.1, 0.3, 8, 2)]


@pytest.fixture(scope="module")
def found():
    return histograms(*GUIDES)


def test_loss_is_the_posterior_of_the_cells(found):
    model = PoissonGauss(*found.padded(torch.arange(3)))
    guess = GuideParameters(
        *torch.tensor([[0.1, 0.4, 0.2], [4.5, 6.0, 3.0], [0.8, 0.9, 1.2], [0.3, 0.05, 0.6]]).double()
    )
    loss = model.at(torch.arange(3))(point(guess))[0]
    for i, counts in enumerate(GUIDES):
        assert loss[i].item() == pytest.approx(negative_log_posterior(counts, *(v[i].item() for v in guess)), rel=1e-12)


def test_derivatives_are_those_of_the_loss(found):
    model = PoissonGauss(*found.padded(torch.arange(3)))
    rows = model.at(torch.tensor([2, 0, 1, 1]))
    x = torch.tensor(
        [[-2.0, 4.0, 1.0, 0.5], [0.5, 2.0, 0.2, -2.0], [-4.0, 7.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]
    ).double()
    _, gradient, hessian = rows(x)
    for i in range(4):
        unit = torch.zeros(4, dtype=torch.float64)
        unit[i] = 1e-5
        above, below = rows(x + unit), rows(x - unit)
        torch.testing.assert_close(gradient[:, i], (above[0] - below[0]) / 2e-5, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(hessian[:, i], (above[1] - below[1]) / 2e-5, rtol=1e-5, atol=1e-3)


def test_points_and_parameters_are_inverse():
    p = GuideParameters(*torch.rand(4, 7, dtype=torch.float64).clamp(0.05, 0.95))
    for back, forth in zip(parameters(point(p)), p, strict=True):
        torch.testing.assert_close(back, forth)


def test_log_odds():
    p = GuideParameters(*torch.tensor([[0.2], [5.0], [0.8], [0.3]], dtype=torch.float64))
    y = np.log2([1, 4, 30])
    expected = np.log(0.3 / 0.7) + stats.norm.logpdf(y, 5, 0.8) - (y * np.log(0.2) - 0.2 - gammaln(y + 1))
    np.testing.assert_allclose(log_odds(p, torch.tensor([[1, 4, 30]]))[0], expected, rtol=1e-12)


def test_starts_are_inside_the_bounds_and_name_every_guide():
    h = histograms(*GUIDES, [3, 3, 3, 3], [1, 2])
    model = PoissonGauss(*h.padded(torch.arange(5)))
    guide, x = starts(model)
    assert guide.unique().tolist() == [0, 1, 2, 3, 4]
    assert (guide.diff() >= 0).all()
    assert x.isfinite().all()


@pytest.mark.parametrize("guide", range(3))
def test_no_other_start_does_better(found, guide):
    """L-BFGS from 25 random starts, on the cells themselves, finds nothing below our fit."""
    counts = GUIDES[guide]
    ours = fit_guides(found, 3000)
    rng = np.random.default_rng(guide)
    floor = lambda mean: 2 ** (-mean / 2) / (2 * np.log(2))  # noqa: E731

    def objective(x):
        rate, mean, excess, logit = x
        return negative_log_posterior(
            counts, np.exp(rate), mean, floor(mean) * np.exp(excess), 1 / (1 + np.exp(-logit))
        )

    edge = np.log(len(counts) - 1)
    bounds = [(-20, 6), (-4, 50), (0, 12), (-edge, edge)]
    best = min(
        scipy_minimize(objective, x, method="L-BFGS-B", bounds=bounds).fun
        for x in rng.uniform([-5, 0, 0, -4], [1, 8, 3, 4], (25, 4))
    )
    assert ours.loss[guide].item() <= best + 1e-6 * abs(best)
    assert ours.loss[guide].item() == pytest.approx(
        negative_log_posterior(counts, *(v[guide].item() for v in ours.parameters)), rel=1e-10
    )


@pytest.mark.parametrize("posterior", [0.2, 0.5, 0.9])
def test_threshold_is_the_first_count_that_passes(found, posterior):
    fits = fit_guides(found, 3000, posterior_threshold=posterior)
    for i in range(3):
        t = torch.arange(1, 60)[None]
        odds = log_odds(GuideParameters(*(v[i : i + 1] for v in fits.parameters)), t)[0]
        passes = torch.sigmoid(odds) > posterior
        assert fits.threshold[i] == t[0][passes][0]
        assert not fits.ambient[i]


def test_no_signal_shrinks_onto_one_count():
    """A thousand cells with one count each, a few with two: nothing here is a Gaussian narrower than counting."""
    fits = fit_guides(histograms([1] * 1000 + [2] * 150 + [3] * 10, [1] * 500 + [64] * 40), 20_000)
    assert (fits.parameters.std >= log_floor(fits.parameters.mean).exp() * (1 - 1e-12)).all()
    assert fits.threshold[1] > 2


def test_ambient_molecules_are_not_called_signal():
    """Ambient rate 1: a quarter of the cells holds two or more molecules of a guide that no cell carries."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, 20_000)
    counts[:200] += rng.poisson(60, 200)
    fits = fit_guides(histograms(counts[counts > 0], rng.poisson(1.0, 20_000).clip(1)[:12_000]), 20_000)
    assigned = counts >= fits.threshold[0].item()
    assert assigned[:200].mean() > 0.99
    assert assigned[200:].mean() < 1e-3


def test_what_cannot_be_fitted_is_left_out():
    fits = fit_guides(histograms([], [5], [1, 1, 1], [1, 2], [4, 4]), 100)
    assert fits.loss.isnan().tolist() == [True, True, True, False, False]
    assert fits.threshold[:3].isnan().all()
    assert fits.converged[3:].all()


def test_a_guide_does_not_see_the_others(found):
    alone = [fit_guides(histograms(counts), 3000) for counts in GUIDES]
    together = fit_guides(found, 3000)
    for i, fit in enumerate(alone):
        assert fit.threshold[0] == together.threshold[i]
        torch.testing.assert_close(fit.loss[0], together.loss[i], rtol=1e-12, atol=0)


def test_few_steps_are_reported(found):
    assert not fit_guides(found, 3000, max_iter=1).converged.any()
    assert fit_guides(found, 3000).converged.all()
