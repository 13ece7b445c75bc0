"""The shipped plugin notices what it is there to notice."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from testing.pertorch import assert_close, unchanged


def test_close_names_the_worst():
    assert_close([1.0, np.nan, np.inf, 0.0], torch.tensor([1.0, np.nan, np.inf, 0.0]), rel=0)
    assert_close([1.0, 1e-9], [1.0, 0.0], rel=1e-8, scale=1.0)
    with pytest.raises(AssertionError, match=r"error 0\.5 > 0\.1 at \(1, 0\): 3\.0 is not 2\.0; 1 of 4 are off"):
        assert_close([[1.0, 1.0], [3.0, 1.0]], [[1.0, 1.0], [2.0, 1.0]], rel=0.1)
    for actual, expected in (([np.nan], [1.0]), ([1.0], [np.nan]), ([-np.inf], [np.inf]), ([1e-30], [0.0])):
        with pytest.raises(AssertionError, match="largest relative error inf"):
            assert_close(actual, expected, rel=0.1)
    with pytest.raises(AssertionError, match=r"shape \(2,\) is not the expected \(1,\)"):
        assert_close([1.0, 2.0], [1.0], rel=0.1)


@pytest.mark.usefixtures("poisoned_empty")
def test_memory_is_poisoned():
    x = torch.ones(2, dtype=torch.float16)
    for made in (torch.empty(3), torch.empty_like(x), x.new_empty(2, 2), torch.empty_strided((2,), (1,))):
        assert made.isnan().all()
    assert torch.empty(2, dtype=torch.int32).tolist() == [-(2**31)] * 2


def spoil_x(adata):
    adata.X.data[0] += 1


def sort_indices(adata):
    adata.X.sort_indices()


def add_column(adata):
    adata.obs["new"] = 1


def change_type(adata):
    adata.obsm["X_pca"] = adata.obsm["X_pca"].astype(np.float32)


def add_layer(adata):
    adata.layers["new"] = adata.X.copy()


def write_uns(adata):
    adata.uns["params"]["k"] = 2


@pytest.mark.parametrize("change", [spoil_x, sort_indices, add_column, change_type, add_layer, write_uns])
def test_changes_are_noticed(change):
    unsorted = sp.csr_matrix((np.ones(3, np.float32), np.array([1, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    adata = anndata.AnnData(unsorted, obsm={"X_pca": np.ones((2, 2))}, uns={"params": {"k": 1}})
    adata.obs_names, adata.var_names = ["a", "b"], ["c", "d"]
    with unchanged(adata):
        pass
    with pytest.raises(AssertionError, match="changed"), unchanged(adata):
        change(adata)


def test_changes_are_noticed_behind_an_error():
    adata = anndata.AnnData(np.ones((2, 2), np.float32))

    def spoil_and_fail():
        adata.X[0, 0] = 5
        raise ValueError

    with pytest.raises(AssertionError, match="X changed"), unchanged(adata):
        spoil_and_fail()
