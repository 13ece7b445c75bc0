"""Dask with one worker a GPU: what comes back is what one GPU gives in memory."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import pertorch
from pertorch import Distance, DistanceTest
from pertorch.ds import simulate_screen
from testing.pertorch import assert_close

distributed = pytest.importorskip("distributed")
array = pytest.importorskip("dask.array")

pytestmark = pytest.mark.gpu
ROWS = 250  # of a chunk
METRICS = ["edistance", "mmd", "t_test", "spearman_distance", "wasserstein", "ks_test", "mahalanobis"]


@pytest.fixture(scope="module")
def client():
    """A worker for each GPU, which sees no other."""
    workers = {
        f"gpu{i}": {
            "cls": distributed.Nanny,
            "options": {"nthreads": 1, "env": {"CUDA_VISIBLE_DEVICES": str(i)}, "dashboard_address": None},
        }
        for i in range(torch.cuda.device_count())
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(len(workers), timeout=60)
        yield client


@pytest.fixture(scope="module")
def screen():
    """1,500 cells, 80 genes, 8 targets: log-normalised in ``X``, ``dense`` and as components."""
    adata, guides = simulate_screen(1_500, 80, 8, random_state=3, n_programs=3, program_size=20)
    adata.X = sp.csr_matrix(adata.X.log1p(), dtype=np.float32)
    adata.layers["dense"] = adata.X.toarray()
    centred = adata.layers["dense"] - adata.layers["dense"].mean(0)
    adata.obsm["X_pca"] = (centred @ np.linalg.svd(centred, full_matrices=False)[2][:15].T).astype(np.float32)
    return adata, guides


def in_chunks(x):
    parts = [x[start : start + ROWS] for start in range(0, x.shape[0], ROWS)]
    return array.concatenate([array.from_array(part, chunks=part.shape, asarray=False) for part in parts])


def on_dask(adata):
    """The same, ``X`` in chunks."""
    return ad.AnnData(in_chunks(adata.X), adata.obs.copy(), adata.var.copy(), obsm=dict(adata.obsm))


def test_every_worker_has_a_gpu_of_its_own(client):
    seen = client.run(lambda: (torch.cuda.device_count(), str(torch.cuda.get_device_properties(0).uuid)))
    assert {count for count, _ in seen.values()} == {1}
    assert len({uuid for _, uuid in seen.values()}) == torch.cuda.device_count()


@pytest.mark.parametrize("memory_gb", [None, 1e-3])
@pytest.mark.parametrize("name", METRICS)
def test_distances(client, screen, name, memory_gb):
    near = ad.AnnData(screen[0].obsm["X_pca"] if name == "mahalanobis" else screen[0].layers["dense"], screen[0].obs)
    far, options = on_dask(near), {"layer_key": "X"}
    with pertorch.settings.override(device="cuda:0", memory_gb=memory_gb):
        for call in (
            lambda adata: Distance(name, **options).onesided_distances(adata, "gene_target", "NT"),
            lambda adata: Distance(name, **options).pairwise(adata, "gene_target"),
        ):
            assert_close(call(far), call(near), rel=1e-9, scale=1)


def test_bootstrap_and_permutations(client, screen):
    near = ad.AnnData(screen[0].layers["dense"], screen[0].obs)
    far = on_dask(near)
    with pertorch.settings.override(device="cuda:0"):
        expected, found = (
            Distance(layer_key="X").onesided_distances(a, "gene_target", "NT", bootstrap=True, n_bootstrap=20)
            for a in (near, far)
        )
        for a, b in zip(expected, found, strict=True):
            assert_close(b, a, rel=1e-9, scale=1)
        expected, found = (DistanceTest(layer_key="X", n_perms=50)(a, "gene_target", "NT") for a in (near, far))
        pd.testing.assert_series_equal(found["pvalue"], expected["pvalue"])


def test_guides(client, screen):
    guides = screen[1]
    with pertorch.settings.override(device="cuda:0"):
        expected, found = (
            pertorch.GuideAssignment().assign(a, method="poisson_gauss", only_return_results=True)
            for a in (guides, on_dask(guides))
        )
    assert list(found) == list(expected)


def test_markers_and_mixscape(client, screen):
    near = screen[0]
    options = {"min_de_genes": 1, "logfc_threshold": 0.05, "pval_cutoff": 0.5}

    def call(adata, **signature):
        mixscape = pertorch.Mixscape()
        markers = pertorch.perturbation_markers(adata, "gene_target", "NT")
        mixscape.perturbation_signature(adata, "gene_target", "NT", n_neighbors=10, **signature)
        mixscape.mixscape(adata, "gene_target", "NT", **options)
        mixscape.mixscale(adata, "gene_target", "NT", **options)
        return markers, adata.obs

    with pertorch.settings.override(device="cuda:0"):
        expected, found = call(near.copy(), materialize=False), call(on_dask(near))
    for a, b in zip(expected, found, strict=True):
        pd.testing.assert_frame_equal(b, a, check_exact=False, rtol=1e-9, atol=1e-9)
