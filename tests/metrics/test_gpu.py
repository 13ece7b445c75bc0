"""Every metric on a GPU: what a CPU gives, dense and sparse, plain and resampled."""

from __future__ import annotations

import numpy as np
import pytest

import pertorch
from pertorch.metrics import list_metrics
from testing.pertorch import assert_close

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("storage", ["", "_csr", "32", "32_csr"])
@pytest.mark.parametrize("name", [m.name for m in list_metrics() if m.name != "wasserstein"])
def test_as_on_a_cpu(screen, name, storage, monkeypatch):
    layer = ("counts" if name == "nb_ll" else "log") + storage
    groups = ["ctrl", "b", "c"]  # more cells than features, in replicates too
    rel = 1e-6 if "32" in storage else 1e-10

    def tables(device):
        monkeypatch.setattr(pertorch.settings, "device", device)
        distance = pertorch.Distance(name, layer_key=layer)
        drawn = distance.onesided_distances(screen, "target", "ctrl", groups=groups, bootstrap=True, n_bootstrap=3)
        return [distance.onesided_distances(screen, "target", "ctrl", groups=groups), *drawn]

    for on_cpu, on_gpu in zip(tables("cpu"), tables("cuda"), strict=True):
        # An energy distance is a small difference of means of distances, which are 2 to 3 here.
        assert_close(on_gpu, on_cpu, rel=rel, scale=max(3.0, float(np.abs(on_cpu).max())))
