from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import pertorch
from pertorch.solvers import lda_axes
from pertorch.solvers._block_lanczos import krylov
from pertorch.solvers.lda import discriminants

from .screens import simulate

mixscape = pertorch.Mixscape()


def largest_angle(a, b):
    return scipy.linalg.subspace_angles(a, b).max()


@pytest.fixture(scope="module")
def screen():
    adata = simulate("medium")
    mixscape.perturbation_signature(adata, "target", "NT")
    mixscape.mixscape(adata, "target", "NT")
    return adata


def by_scikit_learn(adata, n_comps=10):
    """The definition: PCA of each target's scaled cells, all cells on all axes, discriminants."""
    perturbed = (adata.obs["mixscape_class_global"] == "KO").to_numpy()
    label = adata.obs["target"].to_numpy()
    values = adata.X.toarray().astype(np.float64)
    chosen = perturbed | (label == "NT")
    centred = values[chosen] - values[chosen].mean(0)
    features = []
    for target in adata.uns["mixscape"]:
        cells = values[(perturbed & (label == target)) | (label == "NT")]
        spread = cells.std(0, ddof=1)
        axes = (
            PCA(n_comps, svd_solver="full").fit((cells - cells.mean(0)) / np.where(spread > 0, spread, 1)).components_
        )
        features.append(centred @ axes.T)
    return LinearDiscriminantAnalysis(solver="svd").fit_transform(np.concatenate(features, 1), label[chosen])


def test_against_scikit_learn(screen):
    adata = mixscape.lda(screen, "target", "NT", copy=True)
    found, expected = adata.uns["mixscape_lda"], by_scikit_learn(screen)
    assert found.shape == expected.shape
    assert largest_angle(found, expected) < 1e-4
    correlation = np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, expected.T, strict=True)])
    np.testing.assert_allclose(correlation, 1, atol=1e-6)


def test_products_find_the_same_axes_as_the_covariance(screen, monkeypatch):
    exact = mixscape.lda(screen, "target", "NT", copy=True).uns["mixscape_lda"]
    monkeypatch.setattr(lda_axes, "DENSE_GENES", 0)
    products = mixscape.lda(screen, "target", "NT", copy=True).uns["mixscape_lda"]
    assert largest_angle(products, exact) < 1e-4
    np.testing.assert_allclose(products, exact, atol=1e-4 * np.abs(exact).max())


def test_axes_of_unlike_groups_at_once():
    rng = np.random.default_rng(0)
    controls = torch.from_numpy(rng.normal(size=(120, 300)) * rng.gamma(2, 1, 300))
    shared = lda_axes.Shared.of(controls)
    groups = [lda_axes.Group.beside(shared, torch.from_numpy(rng.normal(size=(n, 300)) + 1)) for n in (5, 60, 33)]
    for found, group in zip(krylov(controls, groups, 4), groups, strict=True):
        both = torch.cat([controls, group.cells]).numpy()
        scaled = (both - both.mean(0)) / both.std(0, ddof=1)
        expected = np.linalg.svd(scaled, full_matrices=False)[2][:4].T
        assert largest_angle(found.numpy(), expected) < 1e-5
        np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_discriminants_are_scikit_learns(n_classes):
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 200)])
    features = rng.normal(size=(len(labels), 12)) + rng.normal(size=(n_classes, 12))[labels]
    features[:, 11] = features[:, 0] + features[:, 1]  # collinear
    loadings = discriminants(torch.from_numpy(features), torch.from_numpy(labels), n_classes).numpy()
    found = (features - features.mean(0)) @ loadings
    expected = LinearDiscriminantAnalysis(solver="svd").fit_transform(features, labels)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-8, atol=1e-10)


def test_pertpys_own_embedding():
    """pertpy 1.4.0 on the same screen and classes: the same subspace."""
    golden = np.load(Path(__file__).parent / "golden" / "pertpy_lda.npz", allow_pickle=False)
    adata = simulate("medium")
    adata.obs["mixscape_class_global"] = golden["classes"]
    mixscape.lda(adata, "target", "NT")
    assert largest_angle(adata.uns["mixscape_lda"], golden["embedding"]) < 1e-3


def test_too_many_components_are_as_many_as_there_are(screen):
    few = screen[:, :12].copy()
    found = mixscape.lda(few, "target", "NT", n_comps=50, min_de_genes=1, logfc_threshold=0.1, copy=True)
    assert found.uns["mixscape_lda"].shape[1] >= 1
