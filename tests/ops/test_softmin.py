"""Soft minima of every implementation against scipy, in float64 from the values as they are stored."""

import os
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from pertorch.ops.softmin import Side
from pertorch.ops.softmin._problems import NOTHING

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# Clouds, and the size of their points: each at its own scale, one with a point far out.
SIZES = (5, 140, 1, 70) if INTERPRETED else (40, 300, 1, 129, 700)
SPREAD = (1.0, 1e-3, 5.0, 100.0, 1.0)[: len(SIZES)]
LEFT, RIGHT = [0, 1, 2, 0, 3], [1, 3, 1, 3, 3]
WIDTHS = [20] if INTERPRETED else [2, 20, 50, 100]


class Implementation(NamedTuple):
    """A way to make an engine, where its points lie, and the error of an exponent relative to the largest product."""

    name: str
    device: str
    dtype: torch.dtype
    error: float


IMPLEMENTATIONS = [
    Implementation("stored", "cpu", torch.float32, 3e-6),
    Implementation("stored", "cpu", torch.float64, 1e-13),
    Implementation("tiled", "cpu", torch.float32, 3e-6),
    Implementation("tiled", "cpu", torch.float64, 1e-13),
    Implementation("stored", "cuda", torch.float32, 3e-6),
    Implementation("tiled", "cuda", torch.float64, 1e-13),
    Implementation("triton", "cuda", torch.float32, 3e-6),
]
INTERPRETER = [Implementation("triton", "cpu", torch.float32, 3e-6)]


def _param(impl):
    suffix = "interpreter" if INTERPRETED else f"{impl.device}-{impl.dtype}"
    marks = [pytest.mark.gpu] if impl.device == "cuda" else []
    return pytest.param(impl, id=f"{impl.name}-{suffix}", marks=marks)


def start(impl, points, offsets, left, right, scale):
    """Soft minima by one implementation, whatever the sizes."""
    from pertorch.ops.softmin import _torch

    if impl.name == "triton":
        from pertorch.ops.softmin import _triton

        return _triton.Streamed(points, offsets)(left, right, scale)
    return (_torch.Stored if impl.name == "stored" else _torch.Tiled)(points, left, right, scale)


def clouds(d, seed=0):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n, d)) * spread for n, spread in zip(SIZES, SPREAD, strict=True)]
    parts[1][3] *= 20
    return [part - part.mean(0) for part in parts]


def side(which, offsets, device, seed):
    rng = np.random.default_rng(seed)
    cloud, sizes = torch.tensor(which), torch.tensor(SIZES)[which]
    log_weight = torch.full((len(which), int(sizes.max())), NOTHING, dtype=torch.float64)
    for p, n in enumerate(sizes.tolist()):
        log_weight[p, :n] = torch.from_numpy(np.log(rng.integers(1, 4, n) / n))
    return Side(*(t.to(device) for t in (cloud, offsets[cloud], sizes, log_weight)))


def truth(x, y, log_weight, potential, scale):
    return -logsumexp((log_weight + potential)[None] + scale * (x @ y.T), axis=1)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("impl", list(map(_param, INTERPRETER if INTERPRETED else IMPLEMENTATIONS)))
def test_soft_minima(impl, d):
    parts = [torch.from_numpy(part).to(impl.dtype) for part in clouds(d)]
    offsets = torch.tensor([0, *np.cumsum(SIZES)])
    left, right = side(LEFT, offsets, impl.device, 1), side(RIGHT, offsets, impl.device, 2)
    # exponents up to a few hundred, as at the ε of a screen
    largest = [float((parts[a].double() @ parts[b].double().T).abs().max()) for a, b in zip(LEFT, RIGHT, strict=True)]
    scale = torch.tensor([300.0 / (v or 1) for v in largest], dtype=torch.float64)
    soft = start(impl, torch.cat(parts).to(impl.device), offsets.to(impl.device), left, right, scale.to(impl.device))
    rng = np.random.default_rng(3)
    weights = [[w[:n] for w, n in zip(s.log_weight.cpu().numpy(), s.size.tolist(), strict=True)] for s in (left, right)]
    problems = [
        (parts[a].double().numpy(), parts[b].double().numpy(), *w, float(s))
        for a, b, *w, s in zip(LEFT, RIGHT, *weights, scale, strict=True)
    ]
    alpha = [rng.normal(0, 1, len(x)) for x, *_ in problems]
    for noise in (0.1, 3.0, 25.0, 0.1, 60.0, 0.1):  # potentials near the soft minima, as in an iteration, and far
        found = soft.columns(padded(alpha, impl.device)).cpu().numpy()
        expected = [truth(y, x, log_a, v, s) for (x, y, log_a, _, s), v in zip(problems, alpha, strict=True)]
        compare(found, expected, 300 * impl.error)
        beta = [v + rng.normal(0, noise, len(v)) for v in expected]
        found = soft.rows(padded(beta, impl.device)).cpu().numpy()
        expected = [truth(x, y, log_b, v, s) for (x, y, _, log_b, s), v in zip(problems, beta, strict=True)]
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
    from pertorch.ops.softmin import _torch, engine

    points, offsets = torch.cat([torch.from_numpy(p) for p in clouds(3)]), torch.tensor([0, *np.cumsum(SIZES)])
    left, right, scale = side([0], offsets, "cpu", 1), side([1], offsets, "cpu", 2), torch.ones(1).double()
    assert isinstance(engine(points, offsets)(left, right, scale), _torch.Stored)
    monkeypatch.setattr(_torch, "STORED_BYTES", {"cpu": 40 * 300 * 8 - 1})
    monkeypatch.setattr(_torch, "TILE", {"cpu": 1000})
    tiled = engine(points, offsets)(left, right, scale)
    assert isinstance(tiled, _torch.Tiled)
    alpha = torch.zeros_like(left.log_weight)
    stored = _torch.Stored(points, left, right, scale)
    torch.testing.assert_close(tiled.columns(alpha), stored.columns(alpha), rtol=1e-12, atol=1e-12)
