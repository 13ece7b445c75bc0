"""Sparse expression a band at a time: within the budget, and nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import pertorch
from pertorch.data import Cells
from pertorch.ops.pairwise import COPIES
from testing.pertorch import assert_close

# Metric, options, and the size of a mean of κ: what rounding is measured by.
KERNELS = {
    "euclidean": ("edistance", {}, 3.0),
    "cosine": ("edistance", {"cell_wise_metric": "cosine"}, 0.2),
    "mean_pairwise": ("mean_pairwise", {}, 3.0),
    "rbf": ("mmd", {"kernel": "rbf", "gamma": "median"}, 0.5),
    "poly": ("mmd", {"kernel": "poly", "gamma": 0.3}, 13.0),
}


@pytest.fixture
def device(request, monkeypatch):
    monkeypatch.setattr(pertorch.settings, "device", request.param)
    return request.param


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("rows", [13, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_bands_do_not_show(screen, name, dtype, rows, device, monkeypatch):
    """Bands of half so many rows: pieces of a group, whole groups, several groups."""
    metric, options, size = KERNELS[name]
    with_direction = screen.layers["log"] + np.eye(1, 9)
    screen.layers["x"] = sp.csr_matrix(with_direction.astype(dtype))
    distance = pertorch.Distance(metric, layer_key="x", **options)

    def tables():
        return [
            distance.pairwise(screen, "target"),
            *distance.pairwise(screen, "target", bootstrap=True, n_bootstrap=3),
            distance.onesided_distances(screen, "target", "ctrl"),
        ]

    whole = tables()
    read = []
    monkeypatch.setattr(Cells, "_held", lambda *_: False)
    monkeypatch.setattr(Cells, "on", lambda *_: pytest.fail("all rows were made dense"))
    monkeypatch.setattr(pertorch.settings, "memory_gb", 6 * COPIES * np.dtype(dtype).itemsize * (rows + 0.5) * 1e-9)
    plain = Cells.rows

    def rows_read(cells, start, stop, where):
        read.append(stop - start)
        return plain(cells, start, stop, where)

    monkeypatch.setattr(Cells, "rows", rows_read)
    sizes = [size, size, size**2, size]  # the third is a variance
    for a, b, scale in zip(whole, tables(), sizes, strict=True):
        assert_close(a, b, rel=1e-6 if dtype == np.float32 else 1e-10, scale=scale)
    assert 0 < max(read) <= rows // 2
