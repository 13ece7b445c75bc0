"""A matrix is read in the order of storage, a slab at a time, and says what is wrong with a file."""

import shutil
import threading

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from anndata.io import sparse_dataset, write_elem

from pertorch import Distance
from pertorch.data import as_matrix, open_matrix
from pertorch.data._storage import _base, _file
from pertorch.exec import read_ahead


def counts(n=23, p=7, seed=0):
    return np.random.default_rng(seed).poisson(1.0, (n, p)).astype(np.float32)


def as_dense(rows):
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


def test_slabs_of_every_screen(stored_screen, monkeypatch):
    monkeypatch.setattr(_base, "SLAB_BYTES", 50)
    monkeypatch.setattr(_base, "PASS_PARTS", 10**8)
    stored = stored_screen(counts().astype(np.float64), pd.DataFrame(index=[str(i) for i in range(23)]))
    matrix = open_matrix(stored.adata, **stored.keys)
    for nbytes, columns in ((1, None), (100, np.array([5, 0])), (10**9, None)):
        slabs = list(matrix.slabs(nbytes, columns))
        assert [slab.start for slab in slabs] == np.cumsum([0, *(slab.rows.shape[0] for slab in slabs[:-1])]).tolist()
        assert len(slabs) == 23 if nbytes == 1 else len(slabs) <= 3 or nbytes == 100
        expected = stored.dense if columns is None else stored.dense[:, columns]
        for slab in slabs:
            assert sp.issparse(slab.rows) == matrix.is_sparse
            assert str(slab.rows.dtype) in str(matrix.dtype)
            np.testing.assert_array_equal(as_dense(slab.rows), expected[slab.cells])
        found = [slab.rows for slab in matrix.count_slabs(nbytes)]
        assert all(rows.has_canonical_format and np.all(rows.data) for rows in found)
        np.testing.assert_array_equal(np.concatenate([as_dense(rows) for rows in found]), stored.dense)


@pytest.fixture(params=["h5", "zarr"])
def group(request, tmp_path):
    """An open file that holds counts in each form, and where it lies."""
    path = tmp_path / f"screen.{request.param}"
    file = h5py.File(path, "w") if request.param == "h5" else zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in {"rows": counts(), "csr": sp.csr_matrix(counts()), "csc": sp.csc_matrix(counts())}.items():
        write_elem(file, name, values, dataset_kwargs={"chunks": (4, 7)} if name == "rows" else {})
    return file


def opened(group, name):
    return group[name] if name == "rows" else sparse_dataset(group[name])


@pytest.mark.parametrize("name", ["rows", "csr", "csc"])
def test_rows_scattered_over_a_file(group, name, monkeypatch):
    monkeypatch.setattr(_base, "SLAB_BYTES", 60)
    matrix, index = as_matrix(opened(group, name), "X"), np.array([20, 3, 3, 4, 22, 0, 20])
    np.testing.assert_array_equal(matrix.rows(torch.from_numpy(index)), counts()[index])
    np.testing.assert_array_equal(matrix.rows(torch.from_numpy(index), np.array([6, 1])), counts()[index][:, [6, 1]])
    np.testing.assert_array_equal(matrix.columns(index, 2, 5).toarray(), counts()[index, 2:5])
    assert matrix.rows(torch.zeros(0, dtype=torch.int64)).shape == (0, 7)
    assert matrix.is_file
    assert not matrix.taken(index).is_file


@pytest.mark.parametrize("name", ["rows", "csr"])
def test_a_slab_is_read_ahead_and_no_more(group, name, monkeypatch):
    kind = _file.FileRows if name == "rows" else _file.FileCsr
    read, plain = [], kind.read

    def noted(self, rows):
        read.append((rows.start, threading.current_thread() is threading.main_thread()))
        return plain(self, rows)

    monkeypatch.setattr(kind, "read", noted)
    slabs = as_matrix(opened(group, name), "X").slabs(112)
    for done, slab in enumerate(slabs, 1):
        assert len(read) <= done + 1, slab
    assert len(read) == done > 3
    assert not any(here for _, here in read)


def damage(group, name):
    """What is wrong with the file, and a part of the message that says so."""
    if name == "ends too soon":
        del group["csr"]["data"]
        write_elem(group["csr"], "data", counts()[counts() != 0][:-2])
        return "csr", "does not fit its data"
    if name == "column out of range":
        group["csr"]["indices"][3] = 99
        return "csr", "indices are out of range"
    group["csr"]["indptr"][5] = 0
    return "csr", "does not fit its data"


@pytest.mark.parametrize("what", ["ends too soon", "column out of range", "rows that run backwards"])
def test_a_damaged_file_is_named_with_its_matrix(group, what):
    name, says = damage(group, what)
    with pytest.raises(
        OSError, match=rf"screen\.(h5|zarr).*layers\['counts'\] cannot be read \(.*{says}.*copy or write"
    ):
        list(as_matrix(opened(group, name), "layers['counts']").slabs(100))


def test_a_corrupt_chunk(tmp_path):
    obs = pd.DataFrame({"g": np.repeat(["a", "b"], 500)}, index=np.arange(1000).astype(str))
    adata = ad.AnnData(np.random.default_rng(0).normal(size=(1000, 20)), obs=obs)
    adata.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    with h5py.File(tmp_path / "a.h5ad") as file:
        chunk = file["X"].id.get_chunk_info(file["X"].id.get_num_chunks() - 1)
    with (tmp_path / "a.h5ad").open("r+b") as raw:
        raw.seek(chunk.byte_offset + 20)
        raw.write(bytes(200))
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(OSError, match=r"a\.h5ad: rows .* of X cannot be read \(.*\)\. The file is damaged"):
        Distance(layer_key="X").pairwise(backed, "g")
    backed.file.close()


def test_a_truncated_zarr_chunk(tmp_path):
    store = zarr.open_array(tmp_path / "x.zarr", mode="w", shape=(40, 3), chunks=(10, 3), dtype="f4")
    store[:] = np.random.default_rng(0).normal(size=(40, 3))
    chunk = next(path for path in (tmp_path / "x.zarr" / "c" / "2").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(OSError, match=r"x\.zarr: rows .*obsm\['e'\] cannot be read"):
        as_matrix(store, "obsm['e']").rows(torch.arange(40))


def test_integers_of_a_file_that_float32_would_round(tmp_path):
    values = np.ones((6, 2), np.int64)
    values[4, 1] = 2**24 + 1
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = values
        matrix = as_matrix(file["x"], "X")
        assert matrix.dtype == torch.float32
        assert (matrix.rows(torch.tensor([0, 5])) == 1).all()
        for read in (lambda: matrix.rows(torch.tensor([5, 4])), lambda: list(matrix.slabs(32))):
            with pytest.raises(
                ValueError, match=r"X holds an integer beyond 2\*\*24, .* at row 4: store it as float64"
            ):
                read()
        np.testing.assert_array_equal(matrix.counts().toarray(), values)  # as stored


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_only_what_is_read_of_a_file_must_be_finite(tmp_path, form, bad):
    values = counts()
    values[20, 2] = bad
    ad.AnnData(form(values)).write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    matrix = open_matrix(backed, "X")
    matrix.rows(torch.arange(20))
    with pytest.raises(ValueError, match=r"X holds NaN or infinity in 1 cell\(s\), the first at row 20: remove"):
        list(matrix.slabs(100))
    backed.file.close()


def test_dask_of_unknown_shape():
    x = da.from_array(counts(), chunks=(5, 7))
    with pytest.raises(ValueError, match=r"X is a Dask array of unknown shape: call its compute_chunk_sizes\(\)"):
        as_matrix(x[x[:, 0] > 0], "X")


def test_chunks_of_dask_are_computed_once():
    done = []

    def noted(block, block_info=None):
        if block_info:
            done.append(block_info[0]["chunk-location"][0])
        return block

    x = da.from_array(counts(), chunks=(5, 7)).map_blocks(noted, meta=np.empty((0, 0), np.float32))
    slabs = list(as_matrix(x, "X").slabs(60))
    assert done == list(range(5))
    assert max(len(slab.rows) for slab in slabs) <= 2


def test_reading_ahead_hands_errors_on_and_ends_early():
    def read(i):
        if i == 3:
            raise OSError("worn out")
        return i

    assert list(read_ahead(read, range(3))) == [0, 1, 2]
    assert list(read_ahead(read, [])) == []
    coming = read_ahead(read, range(10))
    assert [next(coming) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="worn out"):
        next(coming)
    stopped = read_ahead(read, iter(range(10)))
    next(stopped)
    stopped.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("pertorch-read")]


def test_the_disk_may_go(tmp_path):
    """A store that vanishes after it was opened."""
    store = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    write_elem(store, "m", sp.csr_matrix(counts()))
    matrix = as_matrix(sparse_dataset(store["m"]), "X")
    shutil.rmtree(tmp_path / "s.zarr")
    with pytest.raises(OSError, match=r"s\.zarr.*X cannot be read"):
        matrix.counts()
