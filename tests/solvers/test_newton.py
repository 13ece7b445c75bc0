"""Many small minimisations at once."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize

from pertorch.solvers._newton import minimize
from pertorch.solvers._small_systems import solve_batched, solve_unrolled

INF = torch.inf


def rosenbrock(rows):
    """Curved valleys of several depths, as a batch; an indefinite Hessian on the way."""
    steep = torch.linspace(1, 100, 12, dtype=torch.float64)[rows]

    def evaluate(x):
        a, b = x.unbind(-1)
        off = b - a**2
        loss = (1 - a) ** 2 + steep * off**2
        gradient = torch.stack([-2 * (1 - a) - 4 * steep * a * off, 2 * steep * off], -1)
        cross = -4 * steep * a
        hessian = torch.stack(
            [torch.stack([2 - 4 * steep * (off - 2 * a**2), cross], -1), torch.stack([cross, 2 * steep], -1)], -2
        )
        return loss, gradient, hessian

    return evaluate


def box(low, high):
    return torch.full((12, 2), low, dtype=torch.float64), torch.full((12, 2), high, dtype=torch.float64)


@pytest.fixture
def start():
    return torch.from_numpy(np.random.default_rng(0).uniform(-2, 2, (12, 2)))


def test_finds_the_minimum_from_anywhere(start):
    found = minimize(rosenbrock, start, *box(-INF, INF), max_iter=200, tol=1e-6)
    assert found.converged.all()
    torch.testing.assert_close(found.x, torch.ones(12, 2, dtype=torch.float64), rtol=0, atol=1e-8)


def test_bounds_hold_and_the_minimum_is_that_of_the_box(start):
    low, high = box(-0.5, 0.6)
    found = minimize(rosenbrock, start, low, high, max_iter=300, tol=1e-8)
    assert found.converged.all()
    assert ((found.x >= low) & (found.x <= high)).all()
    for i in range(12):
        evaluate = rosenbrock(torch.tensor([i]))
        best = scipy_minimize(
            lambda x, f=evaluate: float(f(torch.from_numpy(x)[None])[0]),
            start[i].clamp(-0.5, 0.6).numpy(),
            bounds=[(-0.5, 0.6)] * 2,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        assert found.loss[i] <= best.fun + 1e-9


def test_a_problem_does_not_see_the_others(start):
    together = minimize(rosenbrock, start, *box(-INF, INF), max_iter=200, tol=1e-6)
    for i in range(12):
        alone = minimize(
            lambda at, i=i: rosenbrock(at + i),
            start[i : i + 1],
            *(b[:1] for b in box(-INF, INF)),
            max_iter=200,
            tol=1e-6,
        )
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-12)


def test_says_what_did_not_converge(start):
    found = minimize(rosenbrock, start, *box(-INF, INF), max_iter=2, tol=1e-6)
    assert not found.converged.any()
    assert (found.loss <= rosenbrock(torch.arange(12))(start)[0]).all(), "never worse than the start"


def test_kin_that_meet_go_on_as_one(start):
    kin = torch.arange(12) // 6
    same = lambda at: rosenbrock(kin[at])  # noqa: E731
    found = minimize(same, start, *box(-INF, INF), max_iter=200, tol=1e-6, kin=kin)
    for k in (0, 1):
        best = found.loss[kin == k].argmin()
        torch.testing.assert_close(found.x[kin == k][best], torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-8)
        assert found.loss[kin == k].isinf().any(), "none was dropped"


@pytest.mark.parametrize("solve", [solve_unrolled, solve_batched])
def test_small_systems(solve):
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(200, 5, 5, generator=rng, dtype=torch.float64)
    definite = a @ a.mT + 0.1 * torch.eye(5)
    b = torch.randn(200, 5, generator=rng, dtype=torch.float64)
    x, solved = solve(definite, b)
    assert solved.all()
    torch.testing.assert_close((definite @ x[..., None])[..., 0], b, rtol=1e-9, atol=1e-9)
    shifted = definite - 3 * torch.eye(5)
    assert torch.equal(solve(shifted, b)[1], torch.linalg.eigvalsh(shifted).amin(-1) > 0)
