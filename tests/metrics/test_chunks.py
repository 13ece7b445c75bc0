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


@pytest.mark.parametrize("nbytes", [1, 1000, 2000, 10**9])
def test_slabs_are_the_rows(cells, nbytes):
    slabs = list(cells.slabs(CPU, nbytes))
    assert [start for start, _ in slabs] == np.cumsum([0, *(len(rows) for _, rows in slabs[:-1])]).tolist()
    assert all(rows.nbytes <= max(nbytes, rows[0].nbytes) for _, rows in slabs)
    assert len(slabs) == 1 or CPU not in cells._loaded
    together = torch.cat([rows for _, rows in slabs])
    assert torch.equal(together, cells.on(CPU))
    assert torch.equal(cells.group(1, CPU), cells.on(CPU)[45:75])


def test_resampled(cells):
    weights = torch.from_numpy(np.random.default_rng(0).integers(0, 3, size=87)).float()
    drawn = cells.resampled(weights)
    assert torch.equal(drawn.on(CPU), cells.on(CPU)[torch.repeat_interleave(torch.arange(87), weights.long())])
    assert drawn.sizes.tolist() == [int(part.sum()) for part in weights.split(cells.sizes.tolist())]
    assert drawn.groups.names == ("b", "ctrl", "a")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["log", "log_csr"])
@pytest.mark.parametrize("metric", ["t_test", "ks_test", "euclidean", "classifier_proba"])
def test_not_finite(screen, layer, metric, bad):
    values = screen.layers[layer].copy()
    values[31, 2] = bad
    screen.layers["bad"] = values
    with pytest.raises(ValueError, match=r"layers\['bad'\] holds NaN or infinity in 1 cell\(s\), the first at row 31"):
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
    monkeypatch.setattr(cells_module, "SLAB_BYTES", 500)
    monkeypatch.setattr(cells_module.Cells.slabs, "__defaults__", (500,))
    monkeypatch.setattr(_tallies, "CHUNK_ENTRIES", 200)
    monkeypatch.setattr(_tallies, "ENTRIES", {"cpu": 50})
    monkeypatch.setattr("pertorch.metrics._counts.ENTRIES", {"cpu": 50})
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
