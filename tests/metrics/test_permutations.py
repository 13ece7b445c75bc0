"""Permutation tests on sparse expression: as on dense, and without a dense copy of it."""

from __future__ import annotations

import pandas as pd
import pytest

from pertorch import DistanceTest
from pertorch.data import Cells
from pertorch.metrics import METRICS, KernelMetric, list_metrics


@pytest.mark.parametrize("name", [m.name for m in list_metrics() if m.name not in ("wasserstein", "classifier_cp")])
def test_sparse_as_dense(screen, name, monkeypatch):
    layer = "counts" if name == "nb_ll" else "log"
    groups = ["b", "c"] if name in ("nb_ll", "mahalanobis") else ["a", "c"]
    dense = DistanceTest(name, n_perms=9, layer_key=layer)(screen, "target", "ctrl", groups=groups)
    if not issubclass(METRICS[name], KernelMetric) or name == "mmd":  # whose default is a distance of means
        monkeypatch.setattr(Cells, "on", lambda *_: pytest.fail("all rows were made dense"))
    sparse = DistanceTest(name, n_perms=9, layer_key=layer + "_csr")(screen, "target", "ctrl", groups=groups)
    pd.testing.assert_frame_equal(sparse, dense, rtol=1e-9)
    assert dense["pvalue"].between(0.1, 1).all()
