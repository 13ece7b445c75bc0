"""A simulated screen in every home that a matrix has."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mixscape.screens import simulate

CHUNK = 170  # cells


def replicates():
    """CSR in memory, in two replicates, the cells in no order."""
    adata = simulate("medium", n_targets=3, n_genes=150)
    rng = np.random.default_rng(0)
    adata.obs["replicate"] = pd.Categorical(np.array(["a", "b"])[rng.integers(0, 2, adata.n_obs)])
    adata = adata[rng.permutation(adata.n_obs)].copy()
    adata.X = sp.csr_matrix(adata.X, dtype=np.float32)
    return adata


def with_x(adata, x):
    """Around another matrix."""
    return ad.AnnData(x, obs=adata.obs.copy(), var=adata.var.copy(), obsm=dict(adata.obsm))


def dense(adata):
    """In memory."""
    return with_x(adata, adata.X.toarray())


def h5ad(adata, folder):
    """Backed."""
    adata.write_h5ad(folder / "screen.h5ad")
    return ad.read_h5ad(folder / "screen.h5ad", backed="r")


def zarr(adata, folder):
    """An open array, or anndata's sparse dataset."""
    group = pytest.importorskip("zarr").open_group(folder / "screen.zarr", mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(group, "X", adata.X)
    return with_x(adata, ad.io.sparse_dataset(group["X"]) if sp.issparse(adata.X) else group["X"])


def dask(adata, folder, form=lambda chunk: chunk):
    """Chunks of whole rows."""
    del folder
    array = pytest.importorskip("dask.array")
    parts = [form(adata.X[start : start + CHUNK]) for start in range(0, adata.n_obs, CHUNK)]
    return with_x(adata, array.concatenate([array.from_array(p, chunks=p.shape, asarray=False) for p in parts]))


def lazy(adata, folder):
    """Everything on disk, ``X`` as a Dask array."""
    pytest.importorskip("xarray")
    store = pytest.importorskip("zarr")
    group = store.open_group(folder / "lazy.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "/", adata)
    store.consolidate_metadata(group.store)
    return ad.experimental.read_lazy(folder / "lazy.zarr")


STORES = {
    "h5ad": h5ad,
    "h5ad-dense": lambda adata, folder: h5ad(dense(adata), folder),
    "zarr": zarr,
    "zarr-dense": lambda adata, folder: zarr(dense(adata), folder),
    "dask": dask,
    "dask-dense": lambda adata, folder: dask(dense(adata), folder),
    "lazy": lazy,
}
