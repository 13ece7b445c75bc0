from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import pertorch
from pertorch.tl._operator import find_signature
from testing.pertorch import unchanged

from .screens import simulate

signature = pertorch.Mixscape().perturbation_signature


def expected_nn(adata, values, space, k=20, split_by=None):
    """The definition, cell by cell, in float64."""
    out = np.empty(values.shape)
    label, split = adata.obs["target"].to_numpy(), adata.obs[split_by].to_numpy() if split_by else np.zeros(len(values))
    for i in range(len(values)):
        controls = np.flatnonzero((label == "NT") & (split == split[i]))
        nearest = controls[np.argsort(((space[controls] - space[i]) ** 2).sum(1), kind="stable")[:k]]
        out[i] = np.log1p(np.expm1(values[nearest]).mean(0)) - values[i]
    return out


def dense(layer):
    return layer.toarray() if sp.issparse(layer) else layer


@pytest.mark.parametrize("split_by", [None, "replicate"])
@pytest.mark.parametrize("output", ["auto", "dense", "sparse"])
def test_neighbours_against_brute_force(split_by, output):
    adata = simulate("medium", n_targets=2)
    values = adata.X.toarray().astype(np.float64)
    signature(adata, "target", "NT", split_by=split_by, output=output)
    expected = expected_nn(adata, values, adata.obsm["X_pca"][:, :15], split_by=split_by)
    np.testing.assert_allclose(dense(adata.layers["X_pert"]), expected, atol=1e-5)
    if output == "sparse":
        assert isinstance(adata.layers["X_pert"], sp.csr_matrix)


def test_mean_of_the_split():
    adata = simulate("medium", n_targets=2)
    signature(adata, "target", "NT", ref_selection_mode="split_by", split_by="replicate")
    values, control = adata.X.toarray().astype(np.float64), (adata.obs["target"] == "NT").to_numpy()
    for name in ("a", "b"):
        cells = (adata.obs["replicate"] == name).to_numpy()
        expected = values[cells & control].mean(0) - values[cells]
        np.testing.assert_allclose(dense(adata.layers["X_pert"])[cells], expected, atol=1e-5)


def test_k_is_capped_at_the_controls_of_a_split():
    adata = simulate("medium", n_targets=1)
    keep = ((adata.obs["target"] != "NT") | (adata.obs["replicate"] == "a")).to_numpy(copy=True)
    keep[np.flatnonzero(((adata.obs["target"] == "NT") & (adata.obs["replicate"] == "b")).to_numpy())[:5]] = True
    adata = adata[keep].copy()
    signature(adata, "target", "NT", split_by="replicate")
    values = adata.X.toarray().astype(np.float64)
    expected = expected_nn(adata, values, adata.obsm["X_pca"][:, :15], split_by="replicate")
    np.testing.assert_allclose(dense(adata.layers["X_pert"]), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["nn", "split_by"])
def test_implicit_is_the_layer_block_by_block(mode):
    adata = simulate("medium", n_targets=2)
    options = {"ref_selection_mode": mode, "split_by": "replicate"}
    signature(adata, "target", "NT", **options)
    layer = dense(adata.layers["X_pert"])
    assert signature(adata, "target", "NT", **options, materialize=False) is None
    assert "X_pert" not in adata.layers
    rows, columns = np.array([3, 700, 1]), np.array([5, 2, 200])
    found = find_signature(adata, None)
    cpu = torch.device("cpu")
    np.testing.assert_allclose(found.block(rows, cpu, columns), layer[np.ix_(rows, columns)], atol=1e-6)
    np.testing.assert_allclose(found.block(rows, cpu), layer[rows], atol=1e-6)
    signature(adata, "target", "NT", **options)
    assert not set(adata.obsp) | set(adata.varm) | set(adata.uns)


def test_implicit_survives_a_file_and_knows_what_was_taken_from_it(tmp_path):
    adata = simulate("medium", n_targets=1)
    signature(adata, "target", "NT", materialize=False)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    again = ad.read_h5ad(tmp_path / "screen.h5ad")
    find_signature(again, None)
    used = np.unique(again.obsp["X_pert_neighbors"].indices)
    without = again[np.setdiff1d(np.arange(again.n_obs), used[:1])].copy()
    with pytest.raises(ValueError, match="run perturbation_signature again"):
        find_signature(without, None)


def test_every_storage_gives_the_same(stored_screen):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (60, 8)).astype(np.float64)
    obs = pd.DataFrame({"target": ["NT"] * 30 + ["A"] * 30}, index=[str(i) for i in range(60)])
    adata, slot, _, numbers = stored_screen(values, obs)
    if slot != "X":
        pytest.skip("the signature is that of X")
    adata = adata.to_memory() if adata.is_view else adata
    adata.obsm["space"] = rng.normal(size=(60, 3))
    signature(adata, "target", "NT", use_rep="space", n_neighbors=5, materialize=True)
    expected = expected_nn(adata, numbers, adata.obsm["space"], k=5)
    np.testing.assert_allclose(dense(adata.layers["X_pert"]), expected, atol=1e-5)


def test_representation_by_default():
    adata = simulate("medium", n_targets=1)
    pca = adata.obsm.pop("X_pca")
    with pytest.warns(UserWarning, match="50 principal components"):
        changed = signature(adata, "target", "NT", copy=True)
    assert "X_pca" not in adata.obsm
    found = changed.obsm["X_pca"][:, :15]
    np.testing.assert_allclose(np.abs(found), np.abs(pca[:, :15]), atol=1e-3)
    few = adata[:, :50].copy()
    values = few.X.toarray().astype(np.float64)
    signature(few, "target", "NT")  # the first 15 genes are the space
    np.testing.assert_allclose(dense(few.layers["X_pert"]), expected_nn(few, values, values[:, :15]), atol=1e-5)


def test_slabs_do_not_matter():
    adata = simulate("medium", n_targets=1)
    whole, slabs = (signature(adata, "target", "NT", batch_size=size, copy=True) for size in (None, 7))
    np.testing.assert_array_equal(dense(whole.layers["X_pert"]), dense(slabs.layers["X_pert"]))


def test_raw_counts_are_refused():
    adata = simulate("medium", n_targets=1)
    adata.X = sp.csr_matrix(np.round(np.expm1(dense(adata.X)) * 30))
    with (
        unchanged(adata),
        pytest.raises(ValueError, match=r"X holds .*no logarithm of expression.*Pass log-normalised"),
    ):
        signature(adata, "target", "NT")
