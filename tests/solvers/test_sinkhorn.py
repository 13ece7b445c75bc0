"""Entropic transport against OTT's answers, and against itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from pertorch.ops.softmin import _torch
from pertorch.solvers.sinkhorn import Clouds, Rule, _loop, costs, solve
from testing.pertorch import assert_close

from .transport_problems import N_PROBLEMS, problem

OTT = {int(i): v for i, v in json.loads((Path(__file__).parent / "ott.json").read_text()).items()}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def brute_force(x, y, iterations=3000, a=None, b=None):
    """Textbook Sinkhorn in float64: ``⟨P, C⟩ + ε KL(P | a bᵀ)`` of its plan, and ε."""
    a, b = (np.full(len(v), 1 / len(v)) if w is None else w for v, w in ((x, a), (y, b)))
    cost = cdist(x, y, "sqeuclidean")
    mean = a @ cost @ b
    epsilon = 0.05 * np.sqrt(a @ (cost - mean) ** 2 @ b)
    f = np.zeros(len(x))
    for _ in range(iterations):
        g = -epsilon * logsumexp((f[:, None] - cost) / epsilon, b=a[:, None], axis=0)
        f = -epsilon * logsumexp((g - cost) / epsilon, b=b, axis=1)
    density = np.exp((f[:, None] + g - cost) / epsilon)
    plan = a[:, None] * density * b
    return (plan * cost).sum() + epsilon * (plan * (f[:, None] + g - cost) / epsilon).sum(), epsilon


def solve_all(problems, dtype=torch.float64, device="cpu", **rule):
    """Solve each (X, Y) in one call."""
    sides = [side for both in problems for side in both]
    width = max(side.shape[1] for side in sides)
    rows = torch.from_numpy(np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]))) for s in sides]))
    offsets = torch.tensor([0, *np.cumsum([len(s) for s in sides])])
    clouds = Clouds.of(rows.to(device, dtype), offsets)
    left = torch.arange(0, len(sides), 2, device=device)
    moments = costs(clouds, left, left + 1)
    return moments, solve(clouds, left, left + 1, moments.epsilon(), Rule(**rule))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_as_ott_solved_tightly(dtype, device):
    """A threshold of 0.001 alone comes to 1.1e-6; the estimate of what the value can still gain, to 6e-8."""
    found = solve_all([problem(i) for i in OTT], dtype, device)
    moments, result = found
    assert bool(result.converged.all())
    assert_close(result.cost.cpu(), [cost for cost, _ in OTT.values()], rel=5e-7 if dtype == torch.float64 else 1e-5)
    assert_close(moments.epsilon().cpu(), [epsilon for _, epsilon in OTT.values()], rel=1e-6)
    assert float(result.marginal_error.max()) <= 1e-3
    assert len(OTT) > 0.9 * N_PROBLEMS


def test_both_orders_are_one_problem():
    problems = [problem(i) for i in range(60) if max(map(len, problem(i))) < 400]
    for dtype in (torch.float32, torch.float64):
        forth, back = (solve_all(p, dtype)[1].cost for p in (problems, [both[::-1] for both in problems]))
        assert_close(forth, back, rel=1e-7)


@pytest.mark.parametrize("relaxation", [None, 1.0, 1.5])
def test_relaxation_does_not_move_the_answer(relaxation):
    x, y = problem(14)[0][:30], problem(14)[1][:40]
    result = solve_all([(x, y)], threshold=1e-10, relaxation=relaxation)[1]
    assert_close(result.cost, [brute_force(x, y)[0]], rel=1e-9)
    assert result.converged.all()


def test_relaxation_found_takes_fewer_iterations():
    rng = np.random.default_rng(0)
    problems = [(rng.normal(size=(30, d)), rng.normal(0.3, 1, size=(40, d))) for d in (2, 5, 20, 50)]
    plain, found = (solve_all(problems, relaxation=r)[1].iterations.double() for r in (1.0, None))
    assert float((plain / found).log().mean().exp()) > 1.5


def test_relaxation_just_raised_is_left_alone(monkeypatch):
    """The errors grow by its larger steps alone: taken for a sign, ω goes up and down and up."""
    rng = np.random.default_rng(0)
    spectrum = 10 / np.sqrt(np.arange(1, 11))
    problems = [tuple(rng.normal(size=(2, 60, 10)) * spectrum) for _ in range(60)]
    found = solve_all(problems)[1].iterations.double().mean()
    monkeypatch.setattr(_loop, "RAISED", 1.0)
    assert found < 0.9 * solve_all(problems)[1].iterations.double().mean()


def test_weights_are_repeats():
    rng = np.random.default_rng(1)
    rows, offsets = rng.normal(size=(50, 3)), [0, 20, 50]
    weights = torch.from_numpy(rng.integers(0, 4, (50, 3))).float()
    clouds = Clouds.of(torch.from_numpy(rows), torch.tensor(offsets), weights)
    left = torch.tensor([0, 2, 4])
    found = solve(clouds, left, left + 1, costs(clouds, left, left + 1).epsilon(), Rule(threshold=1e-9)).cost
    for r, column in enumerate(weights.T.long().numpy()):
        drawn = np.repeat(rows[:20], column[:20], axis=0), np.repeat(rows[20:], column[20:], axis=0)
        assert_close(found[r], brute_force(*drawn)[0], rel=1e-8)


@pytest.mark.parametrize("d", [5, 300])
def test_moments_of_the_cost(d):
    rng = np.random.default_rng(2)
    x, y = rng.gamma(1, size=(30, d)) + 1000, rng.gamma(2, size=(7, d)) * np.linspace(0.1, 3, d) + 1000
    moments, _ = solve_all([(x, y), (y, x)])
    cost = cdist(x, y, "sqeuclidean")
    assert_close(moments.mean, [cost.mean()] * 2, rel=1e-12)
    assert_close(moments.std, [cost.std()] * 2, rel=1e-10)


def test_equal_costs_cost_their_mean():
    rng = np.random.default_rng(3)
    one, other = rng.normal(1000, 1, size=(2, 6))
    alike = np.tile(one, (9, 1)), np.tile(other, (4, 1))
    problems = [alike, (one[None], other[None]), (alike[0], alike[0])]
    for dtype in (torch.float32, torch.float64):
        moments, result = solve_all(problems, dtype)
        gap = np.square(*[np.subtract(*(v.astype(str(dtype)[6:]).astype(float) for v in (one, other)))]).sum()
        assert_close(result.cost, [gap, gap, 0.0], rel=1e-12)
        assert result.converged.all()
        assert not result.iterations.any()
        assert not moments.std.any()


def test_one_cell_costs_the_mean():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(1, 5)), rng.normal(size=(30, 5))
    assert_close(solve_all([(x, y)])[1].cost, [cdist(x, y, "sqeuclidean").mean()], rel=1e-12)


def test_the_error_is_that_of_the_plan(monkeypatch):
    """Of the potentials that were there when the problem was found to have converged, rows and columns together."""
    x, y = problem(14)[0][:30], problem(14)[1][:40]
    seen = {"columns": [], "rows": []}
    for name, calls in seen.items():
        of = getattr(_torch.Stored, name)
        monkeypatch.setattr(_torch.Stored, name, lambda self, v, of=of, calls=calls: calls.append(v) or of(self, v))
    moments, result = solve_all([(x, y)], relaxation=1.8, threshold=0.05)
    scores = 2 / float(moments.epsilon()) * (x - x.mean(0)) @ (y - y.mean(0)).T
    alpha, beta = (v[0].numpy() for v in (seen["columns"][-1], seen["rows"][-2]))
    plan = np.exp(alpha[:, None] + beta + scores) / (len(x) * len(y))
    rows, columns = (np.abs(plan.sum(axis) - 1 / plan.shape[1 - axis]).sum() for axis in (1, 0))
    assert min(rows, columns) > 1e-4
    assert_close(result.marginal_error, [rows + columns], rel=1e-9)


def test_given_up():
    result = solve_all([problem(14), problem(28)], max_iterations=3)[1]
    assert not result.converged.any()
    assert result.iterations.tolist() == [3, 3]
    assert float(result.marginal_error.min()) > 1e-3
    assert_close(result.cost, solve_all([problem(14), problem(28)])[1].cost, rel=0.1)


def test_how_the_work_is_cut_does_not_show(monkeypatch):
    """One by one, none stored, in one thread or two: the same answers."""
    rng = np.random.default_rng(5)
    problems = [(rng.normal(size=(n, 8)), rng.normal(0.5, 1, size=(m, 8))) for n, m in rng.integers(1, 60, (40, 2))]
    whole = solve_all(problems)[1]
    for name, value in (("BATCH", 1), ("BATCH", 3000), ("STORED_BYTES", 0), ("TILE", 500)):
        monkeypatch.setattr(_torch, name, {"cpu": value})
        cut = solve_all(problems)[1]
        assert_close(cut.cost, whole.cost, rel=1e-10)
        assert torch.equal(cut.iterations, whole.iterations)


@pytest.mark.gpu
def test_large_clouds_take_linear_memory():
    x, y = (torch.randn(100_000, 50, device="cuda") for _ in range(2))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    clouds = Clouds.of(torch.cat([x, y]), torch.tensor([0, 100_000, 200_000]))
    left, right = torch.tensor([[0], [1]], device="cuda")
    result = solve(clouds, left, right, costs(clouds, left, right).epsilon(), Rule())
    assert bool(result.converged.all())
    assert torch.cuda.max_memory_allocated() - before < 2e9
