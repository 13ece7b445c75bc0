"""Counts of a backed file are read in slabs, and never all at once."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment
from pertorch.pp import _counts
from pertorch.pp._methods import METHODS


def simulate():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, (700, 8))
    counts[np.arange(700), rng.integers(0, 8, 700)] += rng.poisson(40, 700)
    counts[100:130] = 0
    lanes = pd.DataFrame({"lane": np.where(np.arange(700) % 2, "a", "b")}, index=np.arange(700).astype(str))
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=lanes)


@pytest.fixture
def path(tmp_path):
    simulate().write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


@pytest.fixture
def backed(path, monkeypatch):
    """Slabs of a few rows each; the largest that was read is written down."""
    monkeypatch.setattr(_counts, "FILE_BYTES", 1600)
    adata = ad.read_h5ad(path, backed="r")
    yield adata
    adata.file.close()


@pytest.mark.parametrize("method", METHODS)
def test_as_in_memory(backed, method):
    options = {"method": method, "batch_key": "lane", "only_return_results": True}
    truth = GuideAssignment().assign(simulate(), **options)
    assert list(GuideAssignment().assign(backed, **options)) == list(truth)


@pytest.mark.parametrize(
    "method", [name for name in METHODS if name != "quantiles"]
)  # which ranks all shares of a guide
def test_the_file_is_never_whole_in_memory(backed, method, monkeypatch):
    def whole(self):
        raise AssertionError("read into memory")

    monkeypatch.setattr(_counts.Counts, "matrix", property(whole))
    assert len(GuideAssignment().assign(backed, method=method, only_return_results=True)) == 700


@pytest.mark.parametrize("home", ["zarr", "dask"])
@pytest.mark.parametrize("method", METHODS)
def test_counts_in_zarr_and_dask(tmp_path, monkeypatch, home, method):
    pytest.importorskip(home)
    monkeypatch.setattr(_counts, "FILE_BYTES", 1600)
    truth, adata = simulate(), simulate()
    if home == "zarr":
        import zarr

        group = zarr.open_group(tmp_path / "counts.zarr", mode="w")
        with ad.settings.override(auto_shard_zarr_v3=False):
            ad.io.write_elem(group, "X", truth.X)
        adata.X = ad.io.sparse_dataset(group["X"])
    else:
        from dask.array import concatenate, from_array

        parts = [truth.X[start : start + 150] for start in range(0, 700, 150)]
        adata.X = concatenate([from_array(part, chunks=part.shape, asarray=False) for part in parts])
    for screen in (truth, adata):
        GuideAssignment().assign(screen, method=method, batch_key="lane")
    pd.testing.assert_frame_equal(adata.obs, truth.obs)
    assert (adata.layers["assigned_guides"] != truth.layers["assigned_guides"]).nnz == 0
    found, expected = (a.uns["guide_assignment"]["parameters"] for a in (adata, truth))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_labels_and_fits_are_written_beside_the_file(backed):
    GuideAssignment().assign_mixture_model(backed)
    truth = simulate()
    GuideAssignment().assign_mixture_model(truth)
    assert list(backed.obs["assigned_guide"]) == list(truth.obs["assigned_guide"])
    np.testing.assert_array_equal(backed.var["threshold"], truth.var["threshold"])


def test_what_is_no_count_is_named_with_its_cell(path, monkeypatch):
    adata = simulate()
    adata.X.data[-1] = 2.5
    adata.write_h5ad(path)
    monkeypatch.setattr(_counts, "FILE_BYTES", 1600)
    backed = ad.read_h5ad(path, backed="r")
    with pytest.raises(ValueError, match=r"X holds 2.5 at cell 699"):
        GuideAssignment().assign_mixture_model(backed)
    assert list(backed.obs) == ["lane"]
    backed.file.close()


def test_rows_out_of_order_in_the_file(path):
    adata = simulate()
    row = slice(adata.X.indptr[5], adata.X.indptr[6])
    adata.X.indices[row], adata.X.data[row] = adata.X.indices[row][::-1].copy(), adata.X.data[row][::-1].copy()
    adata.X.has_sorted_indices = False
    adata.write_h5ad(path)
    backed = ad.read_h5ad(path, backed="r")
    found = GuideAssignment().assign_to_max_guide
    found(backed, assignment_threshold=5)
    truth = simulate()
    GuideAssignment().assign_to_max_guide(truth, assignment_threshold=5)
    assert list(backed.obs["assigned_guide"]) == list(truth.obs["assigned_guide"])
    backed.file.close()
