"""Measured screens, from raw counts: against pertpy's published numbers and against float64 brute force."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from pertorch import Distance
from testing.pertorch import assert_close

FILE = "papalexi/papalexi_20729x303"


@pytest.fixture(scope="module")
def papalexi(shared_data):
    """Normalised by the total of the whole transcriptome, logarithm, 298 genes that are not mitochondrial, 50 PCs."""
    adata = anndata.read_h5ad(shared_data / f"{FILE}.h5ad")
    adata = adata[:, [not gene.startswith("MT-") for gene in adata.var_names]].copy()
    total = adata.obs["total_umis_full_transcriptome"].to_numpy()[:, None]
    expression = np.log1p(adata.X.toarray().astype(np.float64) * (1e4 / total))
    adata.obsm["X_pca"] = PCA(50, svd_solver="covariance_eigh").fit_transform(expression)
    adata.obsm["X_pca_float32"] = adata.obsm["X_pca"].astype(np.float32)
    control = adata.obs["gene_target"] == "NT"
    adata.obs["guide"] = np.where(control, "control", adata.obs["guide_max"].astype(str))
    return adata


def brute_force(rows_of, groups, reference):
    """Unbiased energy distances in float64, and the mean distances they are differences of."""

    def within(x):
        return cdist(x, x).sum() / (len(x) * (len(x) - 1))

    y = rows_of(reference)
    between = np.array([cdist(rows_of(group), y).mean() for group in groups])
    spread = np.array([within(rows_of(group)) for group in groups])
    return 2 * between - spread - within(y), between


def test_papalexi_has_the_genes_and_cells_it_should(papalexi):
    assert papalexi.shape == (20729, 298)
    assert papalexi.obs["gene_target"].nunique() == 26


def test_papalexi_to_nt_as_pertpy(papalexi, shared_data):
    expected = pd.read_csv(shared_data / f"{FILE}_edist_to_NT_pertpy.csv", index_col="gene_target")["edistance to NT"]
    found = Distance("edistance", estimator="v").onesided_distances(papalexi, "gene_target", "NT")
    assert set(found.index) == set(expected.index)
    assert_close(found, expected[found.index], rel=1e-5)


def test_papalexi_pairwise_as_pertpy(papalexi, shared_data):
    expected = pd.read_csv(shared_data / f"{FILE}_pairwise_edist_pertpy.csv", index_col="g")
    guides = list(expected.index)  # 83 guides with 50 cells or more, and the control
    found = Distance("edistance", estimator="v").pairwise(papalexi, "guide", groups=guides)
    assert list(found.columns) == list(expected.columns) == guides
    assert_close(found, expected, rel=1e-5)


def test_papalexi_unbiased_against_brute_force(papalexi):
    labels, values = papalexi.obs["gene_target"].to_numpy(), papalexi.obsm["X_pca"]
    groups = sorted(set(labels) - {"NT"})
    expected, between = brute_force(lambda group: values[labels == group], groups, "NT")
    # X_pca_float32 is rounded: that alone moves a mean distance by up to 1e-8
    for key, rel in [("X_pca", 1e-12), ("X_pca_float32", 1e-6)]:
        found = Distance("edistance", obsm_key=key).onesided_distances(papalexi, "gene_target", "NT")
        assert_close(found[groups], expected, rel=rel, scale=between)


def test_papalexi_known_knockouts_come_first(papalexi):
    found = Distance().onesided_distances(papalexi, "gene_target", "NT").sort_values(ascending=False)
    assert set(found.index[:7]) >= {"STAT1", "IFNGR1", "IFNGR2", "JAK2", "IRF1"}


def test_mcf10a_tp53_is_far_ahead(shared_data):
    adata = anndata.read_h5ad(shared_data / "mcf10a" / "mcf10a_dox_6229x28_pca.h5ad")
    found = Distance().onesided_distances(adata, "gene_single", "NTC").drop("NTC")
    ranked = found.sort_values(ascending=False)
    assert list(ranked.index[:2]) == ["TP53", "STK11"]
    assert ranked["TP53"] > 15 * ranked["STK11"]
    biased = Distance("edistance", estimator="v").onesided_distances(adata, "gene_single", "NTC")
    assert_close(biased[["TP53", "STK11"]], [7.2, 0.5], rel=0.01)
    labels, values = adata.obs["gene_single"].to_numpy(), adata.obsm["X_pca"].astype(np.float64)
    expected, between = brute_force(lambda group: values[labels == group], found.index, "NTC")
    assert_close(found, expected, rel=1e-6, scale=between)
