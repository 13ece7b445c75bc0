"""Guides where a device is short of memory, and on several devices. Both are played on a CPU."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from pertorch import GuideAssignment, settings
from pertorch.data import DeviceCsr
from pertorch.exec import _memory, _split, memory_budget
from pertorch.ops.histogram import Histograms
from pertorch.pp import _histograms, _resident, _run
from pertorch.pp._methods import METHODS
from pertorch.solvers import _depth, _gauss, _guide_mixture

CPU = torch.device("cpu")
FITS = ["poisson_gauss", "gauss", "poisson", "negative_binomial", "binomial"]


def screen(n_cells=400, n_guides=8, rate=0.2):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rate, (n_cells, n_guides))
    counts[np.arange(n_cells), rng.integers(0, n_guides, n_cells)] += rng.poisson(30, n_cells)
    lanes = pd.DataFrame({"lane": np.where(np.arange(n_cells) % 3, "a", "b")}, index=map(str, range(n_cells)))
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=lanes)


def assign(adata, method, batch_key=None):
    out = adata.copy()
    GuideAssignment().assign(out, method=method, batch_key=batch_key)
    return out.layers["assigned_guides"], out.uns["guide_assignment"]["parameters"]


def assert_same(found, truth, rel=0.0):
    assert (found[0] != truth[0]).nnz == 0
    pd.testing.assert_frame_equal(found[1], truth[1], **({"rtol": rel} if rel else {"check_exact": True}))


@pytest.mark.parametrize("method", FITS)
def test_fits_of_fewer_guides_at_a_time(monkeypatch, caplog, method):
    """More than three columns are too many. The log tells it once; products of fewer rows differ in the last digit."""
    truth, real, calls = assign(screen(), method), Histograms.padded, []

    def short(self, columns, width=None):
        calls.append(len(columns))
        if len(columns) > 3:
            raise torch.OutOfMemoryError
        return real(self, columns, width)

    monkeypatch.setattr(Histograms, "padded", short)
    monkeypatch.setattr(_memory, "LEAST_BYTES", 2**10)
    with caplog.at_level(logging.WARNING, "pertorch"), settings.override(memory_gb=0.01):
        assert_same(assign(screen(), method), truth, rel=1e-12)
    assert max(calls) > 3
    assert len(caplog.messages) == 1
    assert "cpu ran out of memory: done with slabs of at most" in caplog.text


@pytest.fixture
def no_room(monkeypatch):
    """A device that counts fit, but no pass over them, nor a slab until half of it is enough: how often that was."""
    asked, real, enough = [], _histograms.upload, 8 * screen().X.nnz

    def resident(stored, device):
        if enough > memory_budget(device):
            return None
        return DeviceCsr.uploaded((stored.data, stored.indices, stored.indptr.astype(np.int64)), 8, device)

    def none(*_):
        asked.append(memory_budget(CPU))
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_resident, "resident", resident)
    for name in ("histograms", "above", "largest"):
        monkeypatch.setattr(_resident, name, none)
    upload = lambda values, device: none() if memory_budget(device) >= enough else real(values, device)  # noqa: E731
    monkeypatch.setattr(_histograms, "upload", upload)
    monkeypatch.setattr(_memory, "LEAST_BYTES", 2**10)
    with settings.override(memory_gb=1.5 * enough / 1e9):
        yield asked


@pytest.mark.parametrize("method", METHODS)
def test_counts_on_a_device_are_given_up(no_room, caplog, method):
    with settings.override(memory_gb=settings.memory_gb / 2):
        truth = assign(screen(), method)
    with caplog.at_level(logging.WARNING, "pertorch"):
        assert_same(assign(screen(), method), truth)
    assert len(no_room) == len(caplog.messages) == (method != "quantiles")  # which needs no device


def test_the_simple_calls_as_well(no_room, caplog):
    adata = screen()
    with caplog.at_level(logging.WARNING, "pertorch"):
        GuideAssignment().assign_by_threshold(adata, assignment_threshold=5)
        GuideAssignment().assign_to_max_guide(adata, assignment_threshold=5)
    assert len(no_room) == len(caplog.messages) == 2
    counts = adata.X.toarray()
    np.testing.assert_array_equal(adata.layers["assigned_guides"].toarray(), counts >= 5)
    assert list(adata.obs["assigned_guide"]) == [str(g) for g in counts.argmax(1)]


@pytest.mark.parametrize("method", [*FITS, "2beta", "3beta"])
def test_fits_are_divided_among_devices(monkeypatch, method):
    """The same blocks, and so the same bits, on one device and on three."""
    monkeypatch.setitem(_guide_mixture._BLOCK, "cpu", 500)
    monkeypatch.setitem(_depth._BLOCK, "cpu", 1000)
    monkeypatch.setattr(_gauss, "_BLOCK", 500)
    truth, runs, real = assign(screen(), method, "lane"), [], _split.with_less_memory

    def one(device, work):
        runs.append(device)
        return real(device, work)

    monkeypatch.setattr(_split, "with_less_memory", one)
    monkeypatch.setattr(_run, "resolve_devices", lambda: [CPU] * 3)
    assert_same(assign(screen(), method, "lane"), truth)
    assert len(runs) == (2 if "beta" in method else 3)


@pytest.fixture(scope="module")
def large():
    return screen(400_000, 40, 0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["threshold", "maximum", *FITS])
def test_a_gpu_that_is_full(large, caplog, method):
    """60 MB are left: the counts take 52, and a look at them as much again."""
    device = torch.device("cuda", 0)
    with settings.override(device="cuda:0"):
        truth = assign(large, method)
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 60e6) / total, device)
        try:
            with caplog.at_level(logging.WARNING, "pertorch"):
                found = assign(large, method)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert_same(found, truth, rel=1e-9)
    assert caplog.text.count("cuda:0 ran out of memory: done with slabs of at most") == 1
