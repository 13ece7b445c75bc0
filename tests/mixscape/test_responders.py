"""All refinements in one program, against the batched operations of torch."""

from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest
import torch

from pertorch.solvers.projection import Controls, Targets

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="runs in the interpreter")
NAMES = ("triton-interpreter",) if INTERPRETED else (pytest.param("triton-cuda", marks=pytest.mark.gpu),)


def screen(sizes, n_markers, m=50, seed=0):
    """Ragged targets of which a part responds, beside controls at the union of all markers."""
    rng = np.random.default_rng(seed)
    union = 12
    controls = Controls.of(torch.from_numpy(rng.normal(0, rng.uniform(0.5, 2, (union, 1)), (union, m))))
    n, k = max(sizes), max(n_markers)
    values = torch.zeros(len(sizes), n, k, dtype=torch.float64)
    inside, used = torch.zeros(len(sizes), n, dtype=torch.bool), torch.zeros(len(sizes), k, dtype=torch.bool)
    markers = torch.zeros(len(sizes), k, dtype=torch.int64)
    for b, (cells, genes) in enumerate(zip(sizes, n_markers, strict=True)):
        markers[b, :genes] = torch.from_numpy(rng.choice(union, genes, replace=False))
        responds = rng.random((cells, 1)) < rng.uniform(0.3, 0.9)
        values[b, :cells, :genes] = torch.from_numpy(
            rng.normal(np.where(responds, rng.uniform(1, 2), 0), 1, (cells, genes))
        )
        inside[b, :cells], used[b, :genes] = True, True
    there = Targets(*(part.to(DEVICE) for part in (values, inside, markers, used)))
    return there, Controls(*(part.to(DEVICE) for part in controls))


def found(module, *screen, **options):
    named = {"n_refinements": 4, "min_cells": 5, "scale": True, "with_controls": True, "options": {}} | options
    with torch.no_grad():
        out = import_module(f"pertorch.solvers.responders.{module}").find_responders(*screen, **named)
    return out.host(controls=True)


def check(a, b, atol=1e-9):
    for name in ("responds", "n_iter", "converged", "collapsed"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    torch.testing.assert_close(a.posterior, b.posterior, rtol=0, atol=1e-6)
    assert torch.equal(a.first.exists, b.first.exists)
    for one, other in zip(a.first[:2], b.first[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("way", NAMES)
@pytest.mark.parametrize(
    "options",
    [{}, {"scale": False, "with_controls": False}, {"n_refinements": 0}, {"n_refinements": 1, "min_cells": 20}],
)
def test_as_in_torch(way, options, monkeypatch):
    if INTERPRETED:  # which is slow where blocks are mostly empty
        monkeypatch.setattr("pertorch.solvers.responders._triton.BLOCK", 128)
    data = screen([40, 21, 5], [5, 9, 1])
    check(found("_triton", *data, **options), found("_torch", *data, **options))


@pytest.mark.parametrize("way", NAMES)
def test_no_direction_and_one_control(way, monkeypatch):
    if INTERPRETED:
        monkeypatch.setattr("pertorch.solvers.responders._triton.BLOCK", 128)
    targets, controls = screen([20, 30], [2, 4])
    same = targets._replace(values=torch.zeros_like(targets.values))
    nothing = Controls.of(torch.zeros_like(controls.values))
    ours = found("_triton", same, nothing)
    check(ours, found("_torch", same, nothing))
    assert not ours.first.exists.any()
    assert not ours.responds.any()
    single = Controls.of(controls.values[:, :1].contiguous())
    check(found("_triton", targets, single), found("_torch", targets, single))


@pytest.mark.parametrize("way", NAMES)
def test_the_same_bits_in_any_batch(way, monkeypatch):
    if INTERPRETED:
        monkeypatch.setattr("pertorch.solvers.responders._triton.BLOCK", 128)
    targets, controls = screen([40, 21], [5, 9])
    together = found("_triton", targets, controls)
    for b, n in enumerate((40, 21)):
        k = int(targets.used[b].sum())
        one = Targets(
            targets.values[b : b + 1, :n, :k],
            targets.inside[b : b + 1, :n],
            targets.markers[b : b + 1, :k],
            targets.used[b : b + 1, :k],
        )
        alone = found("_triton", one, controls)
        assert torch.equal(alone.posterior[0], together.posterior[b, :n])
        assert torch.equal(alone.first.of_targets[0], together.first.of_targets[b, :n])
        assert torch.equal(alone.first.of_controls[0], together.first.of_controls[b])
