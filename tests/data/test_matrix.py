import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from pertorch.data import DeviceCsr, Matrix, open_matrix
from pertorch.data._matrix import as_matrix
from pertorch.exec import download
from testing.pertorch import assert_close

CPU = torch.device("cpu")


def counts(n=23, p=7, seed=0):
    return np.random.default_rng(seed).poisson(1.0, (n, p)).astype(np.float64)


def test_rows_of_every_kind_of_array(stored_array):
    values = counts()
    index = np.array([5, 0, 22, 5, 7])
    rows = as_matrix(stored_array.make(values), "X").rows(torch.as_tensor(index))
    assert rows.is_contiguous()
    assert_close(rows, stored_array.dense(values)[index], rel=0)


def test_counts_of_every_kind_of_array(stored_array):
    values = counts()
    found = as_matrix(stored_array.make(values), "X").counts()
    assert isinstance(found, sp.csr_array)
    assert found.has_canonical_format
    assert found.nnz == np.count_nonzero(values)
    assert_close(found.toarray(), stored_array.dense(values), rel=0)


def test_rows_and_counts_of_every_screen(stored_screen):
    values = counts()
    stored = stored_screen(values, pd.DataFrame(index=[str(i) for i in range(len(values))]))
    matrix = open_matrix(stored.adata, **stored.keys)
    index = np.array([5, 0, 22, 7])
    assert_close(matrix.rows(torch.as_tensor(index)), stored.dense[index], rel=0)
    assert_close(matrix.counts().toarray(), stored.dense, rel=0)


def test_the_callers_array_is_left_alone(stored_array):
    array = stored_array.make(counts())
    if sp.issparse(array) and hasattr(array, "indptr"):
        before = [np.copy(part) for part in (array.data, array.indices, array.indptr)]
        matrix = as_matrix(array, "X")
        matrix.rows(torch.arange(3))
        matrix.counts()
        for part, was in zip((array.data, array.indices, array.indptr), before, strict=True):
            np.testing.assert_array_equal(part, was)
    else:
        rows = as_matrix(array, "X").rows(torch.arange(23))
        rows += 1
        assert_close(as_matrix(array, "X").rows(torch.arange(23)), rows - 1, rel=0)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.ones((2, 2), np.float16), torch.float32),
        (np.ones((2, 2), np.float32), torch.float32),
        (np.ones((2, 2), np.float64), torch.float64),
        (np.ones((2, 2), bool), torch.float32),
        (np.full((2, 2), 2**24, np.int64), torch.float32),
        (np.full((2, 2), 2**24 + 1, np.int64), torch.float64),  # float32 would round it
        (np.full((2, 2), -(2**24) - 1, np.int32), torch.float64),
        (sp.csr_array(np.full((2, 2), 2**30, np.int32)), torch.float64),
        (torch.full((2, 2), 2**30), torch.float64),
        (torch.ones(2, 2, dtype=torch.bfloat16), torch.float32),
        (sp.csr_array((2, 2), dtype=np.int64), torch.float32),
        ([[1, 2], [3, 4]], torch.float32),
    ],
    ids=lambda x: str(getattr(x, "dtype", x)),
)
def test_dtype_of_the_computation(array, dtype):
    assert as_matrix(array, "X").dtype == dtype


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_matrix, torch.from_numpy, pd.DataFrame])
def test_only_cells_that_are_used_must_be_finite(form, bad):
    values = np.ones((6, 3))
    values[4, 1] = values[2, 0] = bad
    matrix = as_matrix(form(values), "layers['x']")
    matrix.rows(torch.tensor([0, 1, 3, 5]))
    with pytest.raises(
        ValueError, match=r"layers\['x'\] holds NaN or infinity in 2 cell\(s\), the first at row 4: remove"
    ):
        matrix.rows(torch.tensor([5, 4, 0, 2]))


def test_stack():
    both = Matrix.stack(as_matrix(sp.csr_array(np.eye(2, dtype=np.float32)), "X"), as_matrix(np.ones((1, 2)), "Y"))
    assert both.shape == (3, 2)
    assert both.rows(torch.tensor([2, 0])).tolist() == [[1, 1], [1, 0]]
    assert both.dtype == torch.float64


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"layer_key": "X"}, 1),
        ({"layer_key": "counts"}, 2),
        ({"obsm_key": "X_pca"}, 3),
        ({"obsm_key": "other"}, 4),
        ({}, 3),
    ],
    ids=str,
)
def test_keys(keys, expected):
    adata = anndata.AnnData(np.ones((3, 2), np.float32))
    adata.layers["counts"] = np.full((3, 2), 2.0, np.float32)
    adata.obsm["X_pca"], adata.obsm["other"] = np.full((3, 5), 3.0), np.full((3, 4), 4.0)
    assert (open_matrix(adata, **keys).rows(torch.arange(3)) == expected).all()


def test_either_spelling_of_the_default_embedding():
    adata = anndata.AnnData(np.ones((3, 2), np.float32), obsm={"pca": np.zeros((3, 5))})
    assert open_matrix(adata).name == "obsm['pca']"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (None, ValueError, "X is empty"),
        (np.array([["a"]]), ValueError, "X holds <U1, not numbers: convert"),
        (np.array([[1j]]), ValueError, "X holds complex128, not numbers"),
        (np.array([[object()]]), ValueError, "X holds object, not numbers"),
        (np.ones(3), ValueError, r"X has 1 dimension\(s\): pass cells × features"),
        (np.ones((1, 2, 3)), ValueError, r"X has 3 dimension\(s\)"),
        ("text", TypeError, "X is a str: pass a numpy, scipy.sparse, pandas, torch, CuPy or Dask array"),
        (pd.Series([1.0]), TypeError, "X is a Series: pass a numpy"),
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), ValueError, "X holds object, not numbers"),
        (torch.ones(1, 1, dtype=torch.complex64), ValueError, "X holds torch.complex64, not numbers"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_what_is_no_matrix_of_numbers(values, error, message):
    with pytest.raises(error, match=message):
        as_matrix(values, "X")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_rows_of_a_matrix_that_lies_on_a_device(device):
    values = counts()
    index, columns = torch.tensor([5, 0, 22, 5], device=device), torch.tensor([6, 2, 3], device=device)
    for there in (
        DeviceCsr.of(sp.csr_array(values), torch.float64, torch.device(device)),
        DeviceCsr.of_dense(torch.from_numpy(values).to(device)),
    ):
        np.testing.assert_array_equal(there.dense(index).cpu(), values[index.cpu()])
        np.testing.assert_array_equal(there.dense(index, columns).cpu(), values[np.ix_(index.cpu(), columns.cpu())])
        np.testing.assert_array_equal(there.take(index).dense(torch.arange(4).to(device)).cpu(), values[index.cpu()])
        assert there.all_finite
    assert not DeviceCsr.of_dense(torch.tensor([[0.0, np.inf]])).all_finite


def test_columns_of_rows():
    values = counts()
    for kind in (np.asarray, sp.csr_matrix, sp.csc_array):
        found = as_matrix(kind(values), "X").columns(np.array([5, 0, 22]), 2, 5)
        np.testing.assert_array_equal(found.toarray(), values[[5, 0, 22], 2:5])
        assert found.has_sorted_indices
        assert np.all(found.data)


@pytest.mark.gpu
def test_download():
    out, slabs = torch.zeros(1000, 30), torch.randn(1000, 30, device="cuda")
    download(((start, slabs[start : start + 130]) for start in range(0, 1000, 130)), out, slabs.device)
    assert torch.equal(out, slabs.cpu())
