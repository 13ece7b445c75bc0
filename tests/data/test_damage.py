"""Chunks of zarr that are truncated, garbled or gone: no verb takes what is left for the data."""

import os
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import sparse_dataset, write_elem

from pertorch import Distance
from pertorch.data import as_matrix, open_matrix
from pertorch.pp import GuideAssignment
from pertorch.tl import DistanceTest, perturbation_markers

N, P = 400, 12
COUNTS = np.random.default_rng(0).poisson(1.0, (N, P)).astype(np.float32)
OBS = pd.DataFrame({"g": list("abcd") * (N // 4)}, index=np.arange(N).astype(str))
VERBS = {
    "kernel": lambda x: Distance(layer_key="X").pairwise(x, "g"),
    "moments": lambda x: Distance("t_test", layer_key="X").onesided_distances(x, "g", "a"),
    "tallies": lambda x: Distance("ks_test", layer_key="X").onesided_distances(x, "g", "a"),
    "test": lambda x: DistanceTest(layer_key="X", n_perms=3)(x, "g", contrast="a"),
    "markers": lambda x: perturbation_markers(x, "g", "a"),
    "guides": lambda x: GuideAssignment().assign_by_threshold(x, assignment_threshold=2),
}


def stored(folder, values, **options):
    group = zarr.open_group(folder / "s.zarr", mode="w", zarr_format=2)
    write_elem(group, "m", values, dataset_kwargs=options)
    return group["m"] if isinstance(values, np.ndarray) else sparse_dataset(group["m"])


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    raw = path.read_bytes()
    path.write_bytes(raw[:16] + bytes(byte ^ 255 for byte in raw[16:]))


@pytest.mark.parametrize(
    ("part", "how", "verb"),
    [
        *(("data", truncate, verb) for verb in VERBS),
        ("indices", garble, "kernel"),
        *((part, Path.unlink, "kernel") for part in ("data", "indices", "indptr")),
    ],
)
def test_a_chunk_of_a_sparse_matrix(tmp_path, part, how, verb):
    x = ad.AnnData(stored(tmp_path, sp.csr_matrix(COUNTS), chunks=(100,)), obs=OBS.copy())
    how(tmp_path / "s.zarr" / "m" / part / "0")
    with pytest.raises(OSError, match=r"s\.zarr/m: (rows \d+ to \d+ of )?X cannot be read \(.*\)\. The file is"):
        VERBS[verb](x)
    assert list(x.obs) == ["g"]
    assert not list(x.layers.keys() - {None})


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("at", ["0", "3"])
def test_missing_chunks_of_csc(tmp_path, part, at):
    matrix = as_matrix(stored(tmp_path, sp.csc_matrix(COUNTS), chunks=(4 if part == "indptr" else 500,)), "X")
    (tmp_path / "s.zarr" / "m" / part / at).unlink()
    with pytest.raises(OSError, match="X cannot be read"):
        matrix.counts()


@pytest.mark.parametrize(
    "values",
    [np.ones((50, 1)), np.zeros((50, 3)), np.eye(50)[:, :1], np.eye(50)[:, 40:], np.zeros((0, 3))],
    ids=["one", "0", "first", "last", "no rows"],
)
def test_chunks_of_zeros_that_zarr_leaves_out(tmp_path, values):
    matrix = as_matrix(stored(tmp_path, sp.csr_matrix(values), chunks=(10,)), "X")
    np.testing.assert_array_equal(matrix.counts().toarray(), values)


def test_an_h5ad_whose_x_is_no_longer_one(tmp_path):
    ad.AnnData(sp.csr_matrix(COUNTS), obs=OBS).write_h5ad(tmp_path / "a.h5ad")
    for part in ("X/data", "X"):
        with h5py.File(tmp_path / "a.h5ad", "r+") as file:
            del file[part]
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        for x in (backed, backed[::2]):
            with pytest.raises(OSError, match=r"a\.h5ad: X cannot be read \(.*\)\. The file is damaged"):
                VERBS["kernel"](x)
        backed.file.close()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_an_h5ad_that_is_cut_after_it_was_opened(tmp_path, form):
    path = tmp_path / "a.h5ad"
    ad.AnnData(form(np.tile(COUNTS, (20, 1)))).write_h5ad(path)
    backed = ad.read_h5ad(path, backed="r")
    matrix = open_matrix(backed, "X")
    next(matrix.slabs(100))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(OSError, match=r"a\.h5ad: .*X cannot be read \(it was cut short\)"):
        matrix.counts()
    backed.file.close()


def test_a_missing_chunk_of_a_dense_array(tmp_path):
    values = stored(tmp_path, COUNTS, chunks=(50, 6))
    Distance(layer_key="X").pairwise(ad.AnnData(values, obs=OBS), "g")  # without a warning
    (tmp_path / "s.zarr" / "m" / "3.1").unlink()
    with pytest.warns(UserWarning, match=r"s\.zarr/m: 1 of 16 chunks of X are not there, and read as zeros\. Either"):
        Distance(layer_key="X").pairwise(ad.AnnData(values, obs=OBS), "g")
    with zarr.config.set({"array.write_empty_chunks": True}):
        whole = as_matrix(stored(tmp_path, np.zeros((60, 4), np.float32), chunks=(20, 4)), "X")
    assert not whole.counts().nnz
