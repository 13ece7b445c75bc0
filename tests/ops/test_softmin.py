"""Soft minima and potentials of every implementation against scipy, in float64 from the values as they are stored."""

import os
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from pertorch.ops.softmin import Points, _padded, _torch
from pertorch.ops.softmin._torch import Side

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# Clouds, and the size of their points: each at its own scale, one with a point far out.
SIZES = (5, 140, 1, 70) if INTERPRETED else (40, 300, 1, 129, 700)
SPREAD = (1.0, 1e-3, 5.0, 100.0, 1.0)[: len(SIZES)]
LEFT, RIGHT = [0, 1, 2, 0, 3], [1, 3, 1, 3, 3]
WIDTHS = [20] if INTERPRETED else [2, 20, 50, 100]


class Implementation(NamedTuple):
    """How exponentials are kept, where the points lie, and the error of an exponent relative to the largest product."""

    name: str
    device: str
    dtype: torch.dtype
    error: float

    def param(self):
        suffix = "interpreter" if INTERPRETED else f"{self.device}-{self.dtype}"
        marks = [pytest.mark.gpu] if self.device == "cuda" else []
        return pytest.param(self, id=f"{self.name}-{suffix}", marks=marks)


IN_TORCH = [
    Implementation("stored", "cpu", torch.float32, 3e-6),
    Implementation("stored", "cpu", torch.float64, 1e-13),
    Implementation("tiled", "cpu", torch.float32, 3e-6),
    Implementation("tiled", "cpu", torch.float64, 1e-13),
    Implementation("stored", "cuda", torch.float32, 3e-6),
    Implementation("tiled", "cuda", torch.float64, 1e-13),
]
IN_TRITON = Implementation("triton", "cpu" if INTERPRETED else "cuda", torch.float32, 3e-6)
IMPLEMENTATIONS = [impl.param() for impl in ([IN_TRITON] if INTERPRETED else [*IN_TORCH, IN_TRITON])]


class Data(NamedTuple):
    """Clouds as an implementation has them, and every problem in float64: x, y, log a, log b, s."""

    points: Points
    scale: torch.Tensor
    problems: list


def make_data(impl, d):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, d)) * spread for n, spread in zip(SIZES, SPREAD, strict=True)]
    parts[1][3] *= 20
    parts = [torch.from_numpy(part - part.mean(0)).to(impl.dtype) for part in parts]
    counts = [rng.integers(1, 4, n) for n in SIZES]
    log_weight = torch.from_numpy(np.concatenate([np.log(c / c.sum()) for c in counts]))
    offsets, coordinates = torch.tensor([0, *np.cumsum(SIZES)]), torch.cat(parts)
    norm = coordinates.double().square().sum(1)
    # exponents up to a few hundred, as at the ε of a screen
    largest = [float((parts[a].double() @ parts[b].double().T).abs().max()) for a, b in zip(LEFT, RIGHT, strict=True)]
    scale = torch.tensor([300.0 / (v or 1) for v in largest], dtype=torch.float64)
    clouds = [(p.double().numpy(), w.numpy()) for p, w in zip(parts, log_weight.split(list(SIZES)), strict=True)]
    problems = [
        (clouds[a][0], clouds[b][0], clouds[a][1], clouds[b][1], float(s))
        for a, b, s in zip(LEFT, RIGHT, scale, strict=True)
    ]
    points = Points(coordinates, log_weight, norm, offsets).to(torch.device(impl.device))
    return Data(points, scale.to(impl.device), problems)


def start(impl, data, which, monkeypatch, twins=False):
    """Potentials of some of the problems by one implementation, whatever the sizes."""
    if impl.name == "triton":
        from pertorch.ops.softmin import _triton

        engine = _triton.Streamed(data.points)
    else:
        monkeypatch.setattr(_torch, "STORED_BYTES", {impl.device: 2**40 if impl.name == "stored" else 0})
        engine = _padded.Padded(data.points)
    left, right = (torch.tensor([side[p] for p in which], device=impl.device) for side in (LEFT, RIGHT))
    return engine(left, right, data.scale[which], twins=twins)


def softmin(x, y, log_weight, potential, scale):
    return -logsumexp((log_weight + potential)[None] + scale * (x @ y.T), axis=1)


class Truth:
    """One problem's potentials, by the definition."""

    def __init__(self, x, y, log_a, log_b, scale, twins=False):
        self.x, self.y, self.log_a, self.log_b, self.scale, self.twins = x, y, log_a, log_b, scale, twins
        self.alpha = -scale / 2 * (x**2).sum(1)
        self.beta = self.alpha if twins else np.zeros(len(y))

    def target(self):
        return softmin(self.y, self.x, self.log_a, self.alpha, self.scale)

    def step(self, omega):
        if self.twins:
            self.alpha = self.beta = (self.alpha + self.target()) / 2
            return
        self.beta = (1 - omega) * self.beta + omega * self.target()
        self.alpha = (1 - omega) * self.alpha + omega * softmin(self.x, self.y, self.log_b, self.beta, self.scale)

    def value(self):
        return np.exp(self.log_a) @ self.alpha + np.exp(self.log_b) @ self.beta

    def errors(self):
        """Of the marginals of the coupling itself."""
        scores = self.alpha[:, None] + self.beta + self.scale * (self.x @ self.y.T)
        log_plan = scores + self.log_a[:, None] + self.log_b
        rows, columns = logsumexp(log_plan, axis=1), logsumexp(log_plan, axis=0)
        off = [np.abs(np.exp(v) - np.exp(w)).sum() for v, w in ((rows, self.log_a), (columns, self.log_b))]
        divergence = np.exp(self.log_b) @ (columns - self.log_b) ** 2 / 2
        return (off[1] if self.twins else sum(off)), divergence, self.value()


def compare_looks(potentials, truths, rel):
    for found, expected in zip(potentials.look(), zip(*(t.errors() for t in truths), strict=True), strict=True):
        np.testing.assert_allclose(found, expected, rtol=rel, atol=rel)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_potentials(impl, d, monkeypatch):
    data = make_data(impl, d)
    truths = [Truth(*problem) for problem in data.problems]
    potentials = start(impl, data, [0, 1, 2, 3, 4], monkeypatch)
    rel = 1000 * impl.error

    def step(omega):
        potentials.step(torch.tensor(omega, dtype=torch.float64))
        for truth, w in zip(truths, omega, strict=True):
            truth.step(w)

    step([1.0] * 5)
    step([1.0, 1.2, 1.5, 1.7, 1.9])
    compare_looks(potentials, truths, rel)
    step([1.9, 1.7, 1.5, 1.2, 1.0])
    np.testing.assert_allclose(potentials.value(), [t.value() for t in truths], rtol=rel, atol=rel)
    kept = [0, 1, 3]
    potentials.take(torch.tensor(kept))
    truths = [truths[p] for p in kept]
    step([1.0, 1.5, 1.1])
    compare_looks(potentials, truths, rel)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_twins(impl, monkeypatch):
    data = make_data(impl, 20)
    truth, potentials = Truth(*data.problems[4], twins=True), start(impl, data, [4], monkeypatch, twins=True)
    for looking in (False, True, True):
        if looking:
            compare_looks(potentials, [truth], 1000 * impl.error)
        truth.step(0.5)
        potentials.step(torch.tensor([1.9], dtype=torch.float64))
    np.testing.assert_allclose(potentials.value(), [truth.value()], rtol=1000 * impl.error)


@pytest.mark.parametrize("impl", [IN_TRITON.param()])
def test_others_in_the_batch_change_no_bit(impl, monkeypatch):
    data = make_data(impl, 20)
    found = []
    for which in ([0, 1, 2, 3, 4], [3, 1], [1]):
        potentials = start(impl, data, which, monkeypatch)
        potentials.step(torch.ones(len(which)).double())
        potentials.step(torch.full((len(which),), 1.7).double(), times=2)
        if len(which) > 2:
            which = [1, 3, 4]
            potentials.take(torch.tensor(which))
        found.append(torch.stack(list(potentials.look()))[:, which.index(1)])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("impl", [] if INTERPRETED else [impl.param() for impl in IN_TORCH])
def test_soft_minima(impl, d):
    data = make_data(impl, d)
    left, right = (Side.of(data.points, torch.tensor(side, device=impl.device)) for side in (LEFT, RIGHT))
    kind = _torch.Stored if impl.name == "stored" else _torch.Tiled
    soft = kind(data.points.coordinates, left, right, data.scale)
    rng, problems = np.random.default_rng(3), data.problems
    alpha = [rng.normal(0, 1, len(x)) for x, *_ in problems]
    for noise in (0.1, 3.0, 25.0, 0.1, 60.0, 0.1):  # potentials near the soft minima, as in an iteration, and far
        found = soft.columns(padded(alpha, impl.device)).cpu().numpy()
        expected = [softmin(y, x, log_a, v, s) for (x, y, log_a, _, s), v in zip(problems, alpha, strict=True)]
        compare(found, expected, 300 * impl.error)
        beta = [v + rng.normal(0, noise, len(v)) for v in expected]
        found = soft.rows(padded(beta, impl.device)).cpu().numpy()
        expected = [softmin(x, y, log_b, v, s) for (x, y, _, log_b, s), v in zip(problems, beta, strict=True)]
        compare(found, expected, 300 * impl.error)
        alpha = [v + rng.normal(0, noise, len(v)) for v in expected]
        if noise == 3.0:
            kept = [0, 1, 3, 4]
            soft = soft.take(torch.tensor(kept, device=impl.device))
            problems, alpha = ([these[p] for p in kept] for these in (problems, alpha))


def padded(potentials, device):
    """Beyond a cloud, the potential of its first point."""
    width = max(map(len, potentials))
    return torch.from_numpy(np.stack([np.append(v, np.full(width - len(v), v[0])) for v in potentials])).to(device)


def compare(found, expected, error):
    for row, truth_of_row in zip(found, expected, strict=True):
        np.testing.assert_allclose(row[: len(truth_of_row)], truth_of_row, rtol=0, atol=error)


@pytest.mark.skipif(INTERPRETED, reason="has nothing to do with Triton")
def test_what_is_not_kept_is_made_anew(monkeypatch):
    data = make_data(IN_TORCH[1], 3)
    left, right = (Side.of(data.points, torch.tensor([cloud])) for cloud in (0, 1))
    call = data.points.coordinates, left, right, torch.ones(1).double()
    stored = _torch.soft_minima(*call)
    assert isinstance(stored, _torch.Stored)
    monkeypatch.setattr(_torch, "STORED_BYTES", {"cpu": 40 * 300 * 8 - 1})
    monkeypatch.setattr(_torch, "TILE", {"cpu": 1000})
    tiled = _torch.soft_minima(*call)
    assert isinstance(tiled, _torch.Tiled)
    alpha = torch.zeros_like(left.log_weight)
    torch.testing.assert_close(tiled.columns(alpha), stored.columns(alpha), rtol=1e-12, atol=1e-12)
