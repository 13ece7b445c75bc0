from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import pertorch
from pertorch.tl import _blocks

from . import reference
from .screens import SETTINGS, simulate

GOLDEN = Path(__file__).parent / "golden"
mixscape = pertorch.Mixscape()


@pytest.fixture(scope="module")
def screen():
    adata = simulate("weak")
    mixscape.perturbation_signature(adata, "target", "NT", output="dense")
    return adata


@pytest.mark.parametrize("split_by", [None, "replicate"])
@pytest.mark.parametrize(("scale", "fit_on"), [(True, "all"), (False, "all"), (True, "targets")])
def test_against_the_definition(screen, split_by, scale, fit_on):
    adata = mixscape.mixscape(screen, "target", "NT", split_by=split_by, scale=scale, fit_on=fit_on, copy=True)
    values, signature = screen.X.toarray().astype(np.float64), screen.layers["X_pert"].astype(np.float64)
    label = screen.obs["target"].to_numpy()
    part = screen.obs["replicate"].to_numpy() if split_by else np.full(len(label), "all")
    called, posterior = np.zeros(len(label), dtype=bool), np.zeros(len(label))
    for name in np.unique(part):
        controls = np.flatnonzero((label == "NT") & (part == name))
        for target in ("g1", "g2", "g3", "g4"):
            cells = np.flatnonzero((label == target) & (part == name))
            genes, _ = reference.markers(values[cells], values[controls])
            assert (target in adata.uns["mixscape"] and name in adata.uns["mixscape"][target]) == (len(genes) >= 5)
            if len(genes) < 5:
                continue
            both = (signature[np.ix_(rows, genes)] for rows in (cells, controls))
            found = reference.classify(*both, scale=scale, with_controls=fit_on == "all")
            called[cells], posterior[cells], first = found
            table = adata.uns["mixscape"][target][name]
            np.testing.assert_array_equal(table.index, screen.obs_names[np.sort([*cells, *controls])])
            np.testing.assert_allclose(table.loc[screen.obs_names[cells], "pvec"], first[0], atol=1e-6)
            np.testing.assert_allclose(table.loc[screen.obs_names[controls], "pvec"], first[1], atol=1e-6)
            assert (table["target"] == label[np.sort([*cells, *controls])]).all()
    assert 100 < called.sum() < 500
    np.testing.assert_array_equal(adata.obs["mixscape_class_global"] == "KO", called)
    np.testing.assert_allclose(adata.obs["mixscape_class_p_ko"], posterior, atol=1e-4)
    suffix = np.where(called, " KO", " NP")
    expected = np.where(label == "NT", "NT", label.astype(object) + suffix)
    np.testing.assert_array_equal(adata.obs["mixscape_class"], expected)


@pytest.mark.parametrize("fit_on", ["all", "targets"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_planted_responders_are_found_no_worse_than_by_pertpy(setting, fit_on):
    """Share of cells called right, within two standard errors of the difference to pertpy 1.4.0.

    In the first ten screens; docs/mixscape.md has the differences in all 300 whose results are kept here.

    Fitted to the targets' own cells it is better by more than that wherever calls are hard.
    """
    golden = json.loads((GOLDEN / "pertpy_accuracy.json").read_text())[setting][:10]
    right = []
    for seed in range(len(golden)):
        adata = simulate(setting, seed)
        mixscape.perturbation_signature(adata, "target", "NT", materialize=False)
        mixscape.mixscape(adata, "target", "NT", store_projections=False, fit_on=fit_on)
        cells = adata.obs[adata.obs["target"] != "NT"]
        right.append(((cells["mixscape_class_global"] == "KO") == cells["responds"]).mean())
    difference = np.array(right) - golden
    if fit_on == "targets" and setting in ("medium", "weak", "few genes", "most respond"):
        assert difference.mean() > 2 * difference.std(ddof=1) / len(golden) ** 0.5
    assert difference.mean() >= -2 * difference.std(ddof=1) / len(golden) ** 0.5


def test_implicit_sparse_and_batches_change_nothing(screen, monkeypatch):
    expected = mixscape.mixscape(screen, "target", "NT", split_by="replicate", copy=True)
    implicit = mixscape.perturbation_signature(screen, "target", "NT", materialize=False, copy=True)
    sparse = screen.copy()
    sparse.layers["X_pert"] = sp.csr_matrix(screen.layers["X_pert"])
    one_by_one = screen.copy()
    for adata, bytes_ in ((implicit, 2**27), (sparse, 2**27), (one_by_one, 1)):
        monkeypatch.setitem(_blocks.BATCH_BYTES, "cpu", bytes_)
        mixscape.mixscape(adata, "target", "NT", split_by="replicate")
        pd.testing.assert_series_equal(adata.obs["mixscape_class"], expected.obs["mixscape_class"])
        np.testing.assert_allclose(adata.obs["mixscape_class_p_ko"], expected.obs["mixscape_class_p_ko"], atol=1e-4)
        pd.testing.assert_frame_equal(adata.uns["mixscape_status"], expected.uns["mixscape_status"])


@pytest.mark.parametrize("layer", ["none", "dense", "sparse"])
def test_made_at_all_markers_at_once(layer, monkeypatch):
    """The way of a GPU, here on the CPU, in slabs that cut targets."""
    adata = simulate("weak")
    options = {"materialize": False} if layer == "none" else {"output": layer}
    mixscape.perturbation_signature(adata, "target", "NT", **options)
    expected = mixscape.mixscape(adata, "target", "NT", split_by="replicate", copy=True)
    monkeypatch.setattr(
        _blocks,
        "way_to_read",
        lambda signature, union, device: (
            partial(_blocks._picked, signature)
            if layer == "dense"
            else partial(_blocks._cells_alike, signature.reader(device, union), len(union))
        ),
    )
    monkeypatch.setitem(_blocks.SLAB_BYTES, "cpu", 2**15)
    mixscape.mixscape(adata, "target", "NT", split_by="replicate")
    pd.testing.assert_series_equal(adata.obs["mixscape_class"], expected.obs["mixscape_class"])
    np.testing.assert_allclose(adata.obs["mixscape_class_p_ko"], expected.obs["mixscape_class_p_ko"], atol=1e-5)


def test_status(screen):
    adata = mixscape.mixscape(screen, "target", "NT", logfc_threshold=0.7, min_de_genes=8, copy=True)
    status = adata.uns["mixscape_status"].set_index("target")
    table = pertorch.perturbation_markers(screen, "target", "NT", logfc_threshold=0.7, pval_cutoff=0.05)
    counts = table["target"].value_counts().reindex(status.index, fill_value=0)
    assert status["n_cells"].tolist() == [150] * 4
    np.testing.assert_array_equal(status["n_markers"], counts)
    np.testing.assert_array_equal(status["status"] == "too few markers", counts < 8)
    fraction = (adata.obs["mixscape_class_global"] == "KO").groupby(adata.obs["target"], observed=True).mean()
    tested = status[counts >= 8]
    assert 0 < len(tested) < 4
    np.testing.assert_allclose(tested["perturbed_fraction"].astype(float), fraction[tested.index])


def test_own_markers(screen):
    tested = pertorch.perturbation_markers(screen, "target", "NT", logfc_threshold=0.25, pval_cutoff=0.05)
    expected = mixscape.mixscape(screen, "target", "NT", copy=True)
    named = {target: rows["gene"].tolist() for target, rows in tested.groupby("target")}
    for given in (tested, named):
        adata = mixscape.mixscape(screen, "target", "NT", de_genes_by_target=given, copy=True)
        pd.testing.assert_series_equal(adata.obs["mixscape_class"], expected.obs["mixscape_class"])
    with pytest.warns(UserWarning, match="no genes for 'g2', 'g3', 'g4'"):
        adata = mixscape.mixscape(screen, "target", "NT", de_genes_by_target={"g1": named["g1"]}, copy=True)
    assert set(adata.uns["mixscape"]) == {"g1"}


def test_own_markers_by_split(screen):
    tested = pertorch.perturbation_markers(
        screen, "target", "NT", split_by="replicate", logfc_threshold=0.25, pval_cutoff=0.05
    )
    expected = mixscape.mixscape(screen, "target", "NT", split_by="replicate", copy=True)
    adata = mixscape.mixscape(screen, "target", "NT", split_by="replicate", de_genes_by_target=tested, copy=True)
    pd.testing.assert_series_equal(adata.obs["mixscape_class"], expected.obs["mixscape_class"])


def test_results_survive_a_file(screen, tmp_path):
    adata = screen.copy()
    some = {"min_de_genes": 7}  # not all targets have so many
    mixscape.mixscape(adata, "target", "NT", split_by="replicate", **some)
    assert 0 < adata.uns["mixscape_status"]["converged"].isna().sum() < 8
    mixscape.mixscale(adata, "target", "NT", score_controls=True)
    mixscape.lda(adata, "target", "NT")
    adata.write_h5ad(tmp_path / "screen.h5ad")
    again = ad.read_h5ad(tmp_path / "screen.h5ad")
    pd.testing.assert_frame_equal(again.uns["mixscape_status"], adata.uns["mixscape_status"], check_dtype=False)
    table = adata.uns["mixscape"]["g1"]["b"]
    pd.testing.assert_frame_equal(again.uns["mixscape"]["g1"]["b"], table, check_categorical=False, check_names=False)
    np.testing.assert_array_equal(again.uns["mixscale_de_genes"]["g1"], adata.uns["mixscale_de_genes"]["g1"])


def test_papalexi(shared_data):
    """pertpy 1.4.0 on the same data (signature split by replicate, classes not): docs/mixscape.md has the figures."""
    adata = ad.read_h5ad(shared_data / "papalexi" / "papalexi_20729x303.h5ad")
    adata = adata[:, ~adata.var_names.str.startswith("MT-")].copy()
    scale = sp.diags_array(1e4 / adata.obs["total_umis_full_transcriptome"].to_numpy())
    adata.X = sp.csr_matrix(scale @ sp.csr_matrix(adata.X, dtype=np.float64)).astype(np.float32).log1p()
    with pytest.warns(UserWarning, match="50 principal components"):
        mixscape.perturbation_signature(adata, "gene_target", "NT", split_by="replicate")
    mixscape.mixscape(adata, "gene_target", "NT")
    peer = pd.read_csv(shared_data / "papalexi" / "papalexi_20729x303_pertpy_mixscape.csv", index_col=0)
    peer = peer.loc[adata.obs_names]
    agree = adata.obs["mixscape_class"].astype(str).to_numpy() == peer["mixscape_class"].to_numpy()
    assert agree.mean() >= 0.99
    ours, theirs = (
        (frame["mixscape_class_global"] == "KO").groupby(adata.obs["gene_target"], observed=True).mean()
        for frame in (adata.obs, peer)
    )
    perturbed = ["STAT1", "JAK2", "IFNGR2", "IFNGR1", "IRF1", "SMAD4", "BRD4"]
    assert (ours.drop(perturbed) == 0).all()
    # IRF1 (.362 against .314) and SMAD4 (.278 against .243) differ by more than .03 through pertpy's mixture, which
    # stops at a tolerance of 1e-3: run to 1e-9 on the exact signature it says .361 and .278.
    assert (ours[perturbed] - theirs[perturbed]).abs().drop(["IRF1", "SMAD4"]).max() <= 0.03
    converged = pd.Series(json.loads((GOLDEN / "pertpy_papalexi_converged.json").read_text()))
    assert (ours[perturbed] - converged[perturbed]).abs().max() <= 0.01
