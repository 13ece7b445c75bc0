"""Several devices share the targets, and leave the same bits as one."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import pertorch
from pertorch.tl import _blocks, _classify, _compare, _map_targets, _mixscale

from .screens import simulate

m = pertorch.Mixscape()
TWO = [
    pytest.param("cpu", id="cpu"),
    pytest.param(
        "cuda",
        id="cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")],
    ),
]


def run(monkeypatch, devices, method):
    for module in (_classify, _compare, _mixscale):
        monkeypatch.setattr(module, "resolve_devices", lambda *_: devices)
    adata = simulate("medium", n_targets=6)
    m.perturbation_signature(adata, "target", "NT", output="dense")
    markers = pertorch.perturbation_markers(adata, "target", "NT", test_method=method)
    for split_by in (None, "replicate"):
        m.mixscape(adata, "target", "NT", split_by=split_by, test_method=method, new_class_name=f"class_{split_by}")
    m.mixscale(adata, "target", "NT", split_by="replicate", test_method=method, score_controls=True)
    return markers, adata


@pytest.mark.parametrize("kind", TWO)
@pytest.mark.parametrize("method", ["wilcoxon", "t-test"])
def test_the_same_bits_on_two_devices(kind, method, monkeypatch):
    """Targets of unequal size, batches of one target each: both devices get some."""
    ids = (0, 1) if kind == "cuda" else (None, None)
    devices = [torch.device(kind) if i is None else torch.device(kind, i) for i in ids]
    monkeypatch.setattr(pertorch.settings, "device", kind)
    monkeypatch.setitem(_blocks.BATCH_BYTES, kind, 1)
    worked = []
    real = _map_targets.read_controls
    monkeypatch.setattr(_map_targets, "read_controls", lambda *args: worked.append(args[-1]) or real(*args))
    (markers, one), (again, two) = (run(monkeypatch, some, method) for some in (devices[:1], devices))
    assert len(worked) == 5 + 2 * 5  # one for each split of each call, then one for each device
    pd.testing.assert_frame_equal(markers, again, check_exact=True)
    pd.testing.assert_frame_equal(one.obs, two.obs, check_exact=True)
    for key in ("mixscape_status", "mixscale_status", "mixscale_score_controls"):
        pd.testing.assert_frame_equal(one.uns[key], two.uns[key], check_exact=True)
    for target, tables in one.uns["mixscape"].items():
        for split, table in tables.items():
            pd.testing.assert_frame_equal(table, two.uns["mixscape"][target][split], check_exact=True)


def test_more_devices_than_targets(monkeypatch):
    (markers, one), (again, three) = (run(monkeypatch, [torch.device("cpu")] * n, "wilcoxon") for n in (1, 9))
    pd.testing.assert_frame_equal(markers, again, check_exact=True)
    pd.testing.assert_frame_equal(one.obs, three.obs, check_exact=True)
