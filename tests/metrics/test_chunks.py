"""Slabs of cells, runs of features, batches of groups: how work is cut does not show in a result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pertorch
from pertorch.data import Cells, Groups, open_matrix
from pertorch.data import _cells as cells_module
from pertorch.metrics import _density, _tallies, list_metrics
from testing.pertorch import assert_close

CPU = torch.device("cpu")


@pytest.fixture(params=["log", "log_csr", "log32", "log32_csr"])
def cells(request, screen):
    return Cells(open_matrix(screen, layer_key=request.param), Groups.from_obs(screen, "target", ["b", "ctrl", "a"]))


@pytest.mark.parametrize("groups", [slice(None), slice(1, 3), slice(0, 1)])
@pytest.mark.parametrize("held", [0, 10**9])
@pytest.mark.parametrize("nbytes", [1, 1000, 2000, 10**9])
def test_slabs_are_the_rows(cells, nbytes, held, groups, monkeypatch):
    monkeypatch.setattr(cells_module, "HELD_BYTES", {"cpu": held})
    first, last, _ = groups.indices(3)
    offsets = cells.offsets[first : last + 1].tolist()
    slabs = list(cells.slabs(CPU, groups, nbytes))
    assert held or CPU not in cells._loaded
    starts = np.cumsum([offsets[0], *(len(rows) for _, rows in slabs)])
    assert [start for start, _ in slabs] == starts[:-1].tolist()
    assert all(rows.nbytes <= max(nbytes, rows[0].nbytes) for _, rows in slabs)
    assert torch.equal(torch.cat([rows for _, rows in slabs]), cells.on(CPU)[offsets[0] : offsets[-1]])
    assert torch.equal(cells.group(1, CPU), cells.on(CPU)[45:75])


def test_resampled(cells):
    weights = torch.from_numpy(np.random.default_rng(0).integers(0, 3, size=87)).float()
    drawn = cells.resampled(weights)
    assert torch.equal(drawn.on(CPU), cells.on(CPU)[torch.repeat_interleave(torch.arange(87), weights.long())])
    assert drawn.sizes.tolist() == [int(part.sum()) for part in weights.split(cells.sizes.tolist())]
    assert drawn.groups.names == ("b", "ctrl", "a")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["log", "log_csr"])
@pytest.mark.parametrize("metric", ["t_test", "ks_test", "euclidean", "classifier_proba", "mahalanobis"])
def test_not_finite(screen, layer, metric, bad, monkeypatch):
    monkeypatch.setattr(cells_module, "HELD_BYTES", {"cpu": 0})
    monkeypatch.setattr("pertorch.metrics._moments.ENTRIES", {"cpu": 50})  # each group read by itself
    values = screen.layers[layer].copy()
    for row in (31, 33, 60):
        values[row, np.flatnonzero(screen.layers["log"][row])[0]] = bad
    screen.layers["bad"] = values
    with pytest.raises(ValueError, match=r"layers\['bad'\] holds NaN or infinity in 3 cell\(s\), the first at row 31"):
        pertorch.Distance(metric, layer_key="bad").pairwise(screen, "target")


@pytest.mark.parametrize("storage", ["", "_csr", "32_csr"])
@pytest.mark.parametrize("name", [m.name for m in list_metrics() if m.name != "wasserstein"])
def test_cuts_do_not_show(screen, name, storage, monkeypatch):
    layer = ("log" if name.startswith("classifier") else "counts") + storage

    def tables():
        distance = pertorch.Distance(name, layer_key=layer)
        groups = ["ctrl", "b", "c"]
        drawn = distance.onesided_distances(screen, "target", "ctrl", groups=groups, bootstrap=True, n_bootstrap=3)
        return [distance.pairwise(screen, "target"), *drawn]

    whole = tables()
    monkeypatch.setattr(cells_module, "HELD_BYTES", {"cpu": 0})
    monkeypatch.setattr(cells_module.Cells.slabs, "__defaults__", (slice(None), 500))
    monkeypatch.setattr("pertorch.metrics._moments.ENTRIES", {"cpu": 50})
    monkeypatch.setattr(_tallies, "CHUNK_ENTRIES", {"cpu": 200})
    for bound in ("ENTRIES", "FITTED"):
        monkeypatch.setattr(f"pertorch.metrics._counts.{bound}", {"cpu": 50})
    monkeypatch.setattr(_density, "TILE", {"cpu": 1})
    for a, b in zip(whole, tables(), strict=True):
        assert_close(a, b, rel=1e-10)


def test_sparse_is_not_made_dense(screen, monkeypatch):
    """Without weights, no metric but the classifiers and Mahalanobis' touches a dense row."""
    monkeypatch.setattr(cells_module, "densify", lambda *_: pytest.fail("made dense"))
    for m in list_metrics():
        if m.name in ("edistance", "mean_pairwise", "mmd", "wasserstein", "mahalanobis"):
            continue
        layer = "counts_csr" if m.needs.counts else "log_csr"
        pertorch.Distance(m.name, layer_key=layer).onesided_distances(screen, "target", "ctrl")
