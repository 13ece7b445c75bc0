"""Modes of the guide mixture: one set of tests for torch, and for Triton compiled or in its interpreter."""

import importlib.util
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from pertorch.ops.histogram import Tally
from pertorch.solvers._newton import minimize
from pertorch.solvers._poisson_gauss import PoissonGauss
from pertorch.solvers._splits import starts

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
IMPLEMENTATIONS = (
    [pytest.param("_triton", "cpu", id="triton-interpreter")]
    if INTERPRETED
    else [
        pytest.param("_torch", "cpu", id="torch"),
        pytest.param("_torch", "cuda", id="torch-cuda", marks=pytest.mark.gpu),
        pytest.param("_triton", "cuda", id="triton-cuda", marks=pytest.mark.gpu),
    ]
)


def screen(n_guides, seed=0):
    """Histograms of guides of many kinds; the last has hundreds of distinct counts."""
    rng = np.random.default_rng(seed)
    tally = Tally(n_guides)
    for i in range(n_guides):
        wide = i == n_guides - 1
        positive = rng.random(3000) < rng.uniform(0.01, 0.4)
        signal = (2000 if wide else rng.uniform(5, 80)) * rng.lognormal(-0.1, 0.5, 3000)
        counts = rng.poisson(rng.choice([0.05, 0.3, 1.0]), 3000) + np.where(positive, rng.poisson(signal), 0)
        tally.add(torch.full((int((counts > 0).sum()),), i), torch.from_numpy(counts[counts > 0]))
    return tally.histograms()


def found(module, device, histograms, guides, **options):
    """Guide of each start, and what became of it."""
    model = PoissonGauss(*(part.to(device) for part in histograms.padded(guides)))
    guide, start = starts(model)
    twin = import_module(f"pertorch.solvers.modes.{module}")
    out = twin.modes(model, guide, start, **options)
    assert out.x.device.type == device
    return guide.cpu(), type(out)(*(part.cpu() for part in out))


@pytest.mark.parametrize(("module", "device"), IMPLEMENTATIONS)
def test_the_modes_of_each_start(module, device):
    """As from the same start alone, without kin: the same place, or a kin that is there."""
    h, guides = screen(4), torch.tensor([3, 0, 2] if INTERPRETED else [3, 0, 1, 2])
    guide, ours = found(module, device, h, guides, max_iter=90, tol=1e-6)
    model = PoissonGauss(*h.padded(guides))
    at, start = starts(model)
    low, high = model.bounds(at)
    truth = minimize(lambda i: model.at(at[i]), start, low, high, max_iter=90, tol=1e-6)
    assert truth.converged.all()
    assert torch.equal(guide, at)
    stays = ours.loss.isfinite()
    assert ours.converged[stays].all()
    for i in range(len(at)):
        kin = stays & (guide == guide[i])
        near = (ours.x[kin] - truth.x[i]).abs().amax(1) < 1e-5
        torch.testing.assert_close(ours.loss[kin][near][0], truth.loss[i], rtol=1e-11, atol=0)


@pytest.mark.parametrize(("module", "device"), IMPLEMENTATIONS)
def test_few_steps_are_reported(module, device):
    guide, ours = found(module, device, screen(2), torch.tensor([0, 1]), max_iter=1, tol=1e-6)
    assert not ours.converged.any()
    assert set(guide.tolist()) == {0, 1}


@pytest.mark.skipif(INTERPRETED, reason="this is the process that the test starts")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_in_the_interpreter():
    """Triton reads TRITON_INTERPRET when it is imported: hence a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__)), "-k", "interpreter"]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
