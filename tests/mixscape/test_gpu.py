"""The same on a CUDA device as on the CPU."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse as sp
import torch

import pertorch
from pertorch.data import as_matrix

from .screens import simulate

pytestmark = pytest.mark.gpu
m = pertorch.Mixscape()
FORMS = {
    "csr": lambda x: x,
    "csc": lambda x: x.tocsc(),
    "dense": lambda x: x.toarray(),
    "float64": lambda x: x.astype(np.float64),
}


def both(monkeypatch, call, form="csr", setting="medium", **size):
    """What a call leaves in the AnnData, on the CPU and on the GPU."""
    out = []
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(pertorch.settings, "device", device)
        adata = simulate(setting, **size)
        adata.X = FORMS[form](adata.X)
        result = call(adata)
        out.append(adata if result is None else result)
    return out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("output", ["dense", "sparse", "auto"])
@pytest.mark.parametrize("options", [{}, {"ref_selection_mode": "split_by"}, {"batch_size": 100}])
def test_signature(monkeypatch, form, output, options):
    def call(adata):
        m.perturbation_signature(adata, "target", "NT", split_by="replicate", output=output, **options)

    host, gpu = (a.layers["X_pert"] for a in both(monkeypatch, call, form))
    assert type(host) is type(gpu)
    dense = (x.toarray() if sp.issparse(x) else x for x in (host, gpu))
    np.testing.assert_allclose(*dense, atol=1e-5 if form != "float64" else 1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["wilcoxon", "t-test", "t-test_overestim_var"])
def test_markers(monkeypatch, form, method):
    def call(adata):
        return pertorch.perturbation_markers(adata, "target", "NT", test_method=method, split_by="replicate")

    pd.testing.assert_frame_equal(*both(monkeypatch, call, form), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("materialize", [True, False])
@pytest.mark.parametrize("split_by", [None, "replicate"])
def test_classes_and_scores(monkeypatch, form, materialize, split_by):
    def call(adata):
        m.perturbation_signature(adata, "target", "NT", materialize=materialize)
        m.mixscape(adata, "target", "NT", split_by=split_by)
        m.mixscale(adata, "target", "NT", split_by=split_by, score_controls=True)
        m.mixscale(adata, "target", "NT", new_class_name="clipped", clip=2.0)

    host, gpu = both(monkeypatch, call, form, "weak")
    pd.testing.assert_series_equal(host.obs["mixscape_class"], gpu.obs["mixscape_class"])
    for column in ("mixscape_class_p_ko", "mixscale_score", "clipped"):
        np.testing.assert_allclose(host.obs[column], gpu.obs[column], atol=2e-4)
    frames = (a.uns["mixscape"]["g1"]["a" if split_by else "all"] for a in (host, gpu))
    pd.testing.assert_frame_equal(*frames, atol=1e-4)
    pd.testing.assert_frame_equal(*(a.uns["mixscape_status"].drop(columns="n_iter") for a in (host, gpu)))


def test_a_signature_that_lies_on_the_gpu(monkeypatch):
    monkeypatch.setattr(pertorch.settings, "device", "cuda")
    cupy = pytest.importorskip("cupy")
    adata = simulate("medium")
    m.perturbation_signature(adata, "target", "NT", output="dense")
    m.mixscape(adata, "target", "NT")
    expected = adata.obs["mixscape_class"]
    adata.layers["X_pert"] = cupy.asarray(adata.layers["X_pert"])
    m.mixscape(adata, "target", "NT")
    pd.testing.assert_series_equal(adata.obs["mixscape_class"], expected)


@pytest.mark.parametrize("genes", [300, 1200])
def test_lda(monkeypatch, genes):
    def call(adata):
        adata.obs["mixscape_class_global"] = np.where(
            adata.obs["target"] == "NT", "NT", np.where(adata.obs["responds"], "KO", "NP")
        )
        m.lda(adata, "target", "NT")

    host, gpu = (a.uns["mixscape_lda"] for a in both(monkeypatch, call, n_genes=genes))
    assert scipy.linalg.subspace_angles(host, gpu).max() < 1e-4
    np.testing.assert_allclose(host, gpu, atol=1e-3 * np.abs(host).max())


def test_same_bits_on_two_runs(monkeypatch):
    monkeypatch.setattr(pertorch.settings, "device", "cuda")
    runs = []
    for _ in range(2):
        adata = simulate("weak")
        m.perturbation_signature(adata, "target", "NT")
        m.mixscape(adata, "target", "NT")
        m.mixscale(adata, "target", "NT")
        runs.append(adata)
    pd.testing.assert_frame_equal(runs[0].obs, runs[1].obs, check_exact=True)


@pytest.mark.parametrize("call", ["perturbation_signature", "mixscape"])
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_nan_is_found(monkeypatch, call, form):
    monkeypatch.setattr(pertorch.settings, "device", "cuda")
    adata = simulate("medium")
    m.perturbation_signature(adata, "target", "NT")
    values = adata.X.toarray()
    values[3, 7] = np.nan
    adata.X = sp.csr_matrix(values) if form == "csr" else values
    with pytest.raises(ValueError, match=r"X holds NaN.*row 3"):
        getattr(m, call)(adata, "target", "NT")


def test_too_large_to_lie_there_whole(monkeypatch):
    """Slabs travel instead, and nothing changes."""
    monkeypatch.setattr("pertorch.data._matrix.RESIDENT_SHARE", 0.0)
    test_classes_and_scores(monkeypatch, "csr", False, "replicate")
    test_signature(monkeypatch, "csr", "dense", {})
    assert as_matrix(simulate("medium").X, "X").resident(torch.device("cuda")) is None
