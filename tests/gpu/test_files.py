"""On a GPU, a screen in a file, in zarr or in Dask's chunks gives what it gives in memory, whole or in small slabs."""

from __future__ import annotations

import anndata as ad
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

import pertorch
from pertorch.ds import simulate_screen
from pertorch.metrics import METRICS, CentroidMetric, MomentMetric
from pertorch.pp import _counts
from testing.pertorch import assert_close

pytestmark = pytest.mark.gpu
TINY = 3e-4  # GB: less than all cells, dense or as stored
METHODS = ["threshold", "maximum", "2beta", "gauss", "poisson_gauss", "poisson"]
FAMILIES = ["edistance", "wasserstein", "euclidean", "t_test", "mean_var_distribution", "ks_test", "classifier_proba"]
# What is added up in the order of storage, on the host: beyond the budget, and of Dask's chunks
MERGED = {name for name in FAMILIES if issubclass(METRICS[name], CentroidMetric | MomentMetric)}


@pytest.fixture(autouse=True)
def _on_a_gpu():
    with pertorch.settings.override(device="cuda:0"), dask.config.set(scheduler="threads"):
        yield


@pytest.fixture(scope="module")
def screen():
    """900 cells in no order, 60 genes, 6 targets, log1p as CSR; and their guides, as counts."""
    genes, guides = simulate_screen(900, 60, 6, random_state=1, n_programs=3, program_size=20)
    order = np.random.default_rng(0).permutation(900)
    genes, guides = genes[order].copy(), guides[order].copy()
    genes.X = sp.csr_matrix(genes.X.log1p(), dtype=np.float32)
    values = genes.X.toarray().astype(np.float64)
    genes.obsm["X_pca"] = np.linalg.svd(values - values.mean(0), full_matrices=False)[0][:, :10]
    return genes, guides


def h5ad(adata, folder):
    adata.write_h5ad(folder / "x.h5ad")
    return ad.read_h5ad(folder / "x.h5ad", backed="r")


def in_zarr(adata, folder):
    group = zarr.open_group(folder / "x.zarr", mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(group, "X", adata.X)
    return with_x(adata, ad.io.sparse_dataset(group["X"]))


def in_dask(adata, folder):
    del folder
    parts = [adata.X[start : start + 170] for start in range(0, adata.n_obs, 170)]
    return with_x(adata, da.concatenate([da.from_array(part, chunks=part.shape, asarray=False) for part in parts]))


def with_x(adata, x):
    return ad.AnnData(x, obs=adata.obs.copy(), var=adata.var.copy(), obsm=dict(adata.obsm))


@pytest.fixture(scope="module", params=[h5ad, in_zarr, in_dask], ids=["h5ad", "zarr", "dask"])
def far(request, screen, tmp_path_factory):
    """Expression and guides elsewhere."""
    return [request.param(adata, tmp_path_factory.mktemp("far")) for adata in screen]


@pytest.fixture(params=[None, TINY], ids=["fits", "tiny"])
def memory_gb(request):
    return request.param


def both(near, far, memory_gb, call):
    """What a call gives in memory, within the same budget, and elsewhere."""
    with pertorch.settings.override(memory_gb=memory_gb):
        return call(near), call(far)


@pytest.mark.parametrize("name", FAMILIES)
def test_verbs(screen, far, memory_gb, name):
    distance, few = pertorch.Distance(name, layer_key="X"), sorted(screen[0].obs["gene_target"].unique())[:4]
    options = {"groups": [*few, "NT"], "bootstrap": True, "n_bootstrap": 2}

    def call(adata):
        tables = distance.onesided_distances(adata, "gene_target", "NT", **options)
        return [distance.pairwise(adata, "gene_target"), *tables]

    rel = 1e-12 if name in MERGED and (memory_gb or isinstance(far[0].X, da.Array)) else 0
    for expected, found in zip(*both(screen[0], far[0], memory_gb, call), strict=True):
        assert_close(found, expected, rel=rel)


@pytest.mark.parametrize("name", ["edistance", "t_test", "ks_test"])
def test_permutations(screen, far, memory_gb, name):
    test = pertorch.DistanceTest(name, n_perms=12, layer_key="X")
    expected, found = both(screen[0], far[0], memory_gb, lambda adata: test(adata, "gene_target", "NT"))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12 if name in MERGED else 0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_guides(screen, far, method, monkeypatch):
    monkeypatch.setattr(_counts, "FILE_BYTES", 4096)

    def call(adata):
        pertorch.GuideAssignment().assign(adata, method=method, batch_key="batch")
        return adata.obs["assigned_guide"].tolist(), adata.uns["guide_assignment"]["parameters"]

    (calls, expected), (labels, found) = both(screen[1].copy(), far[1], None, call)
    assert labels == calls
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("method", ["wilcoxon", "t-test"])
def test_markers(screen, far, memory_gb, method):
    def call(adata):
        return pertorch.perturbation_markers(adata, "gene_target", "NT", test_method=method, split_by="batch")

    expected, found = both(screen[0], far[0], memory_gb, call)
    pd.testing.assert_frame_equal(found, expected, rtol=0 if method == "wilcoxon" else 1e-12, atol=0)


def test_classes_and_scores(screen, far, memory_gb):
    """With other targets beside it, a target's batch is padded otherwise: a fit ends elsewhere within its tolerance."""
    options = {"min_de_genes": 1, "logfc_threshold": 0.05, "pval_cutoff": 0.5}

    def call(adata):
        mixscape, whole = pertorch.Mixscape(), isinstance(adata.X, sp.csr_matrix)
        adata = adata.copy() if whole else with_x(adata, adata.X)
        mixscape.perturbation_signature(adata, "gene_target", "NT", n_neighbors=10, materialize=False)
        mixscape.mixscape(adata, "gene_target", "NT", **options)
        mixscape.mixscale(adata, "gene_target", "NT", **options)
        return adata.obs

    expected, found = both(screen[0], far[0], memory_gb, call)
    rel = 1e-6 if memory_gb else 1e-12
    pd.testing.assert_frame_equal(found, expected, rtol=rel, atol=rel)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_signature_on_disk(screen, far, memory_gb, suffix, tmp_path):
    signature = pertorch.Mixscape().perturbation_signature
    near = screen[0].copy()
    signature(near, "gene_target", "NT", n_neighbors=10)
    with pertorch.settings.override(memory_gb=memory_gb):
        signature(with_x(far[0], far[0].X), "gene_target", "NT", n_neighbors=10, out=tmp_path / f"out.{suffix}")
    read = ad.read_h5ad if suffix == "h5ad" else ad.read_zarr
    written = read(tmp_path / f"out.{suffix}").X, near.layers["X_pert"]
    found, expected = (x.toarray() if sp.issparse(x) else x for x in written)
    np.testing.assert_array_equal(found, expected)
