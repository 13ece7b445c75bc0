"""A view of a file gives what the view in memory gives, and no more of the file is read at a time than the budget."""

from itertools import pairwise

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from anndata.io import sparse_dataset, write_elem

from pertorch import Distance
from pertorch.data import open_matrix
from pertorch.data._storage import _base, _file
from pertorch.tl import Mixscape

N, P = 60, 9
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.8, (N, P)).astype(np.float32)
FORMS = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}
INDEX = {
    "mask": (RNG.random(N) < 0.4, slice(None)),
    "slice": (slice(7, 50, 3), slice(2, 6)),
    "backwards": (slice(None, None, -1), slice(None, None, -2)),
    "any order, some twice": (RNG.integers(0, N, 40), np.array([7, 0, 3])),
    "from the end": (np.array([-1, -N, 3]), np.array([-1, 2])),
    "names": ([f"c{i}" for i in (30, 4, 59)], ["8", "1"]),
    "columns": (slice(None), RNG.random(P) < 0.5),
    "none": (np.zeros(N, bool), slice(None)),
}


@pytest.fixture(params=["h5", "zarr"])
def opened(request, tmp_path):
    """An AnnData whose every matrix stays in a file."""

    def make(form):
        path = tmp_path / f"screen.{request.param}"
        file = h5py.File(path, "w") if request.param == "h5" else zarr.open_group(path, mode="w", zarr_format=2)
        write_elem(file, "m", FORMS[form](COUNTS))
        stored = file["m"] if form == "dense" else sparse_dataset(file["m"])
        obs = pd.DataFrame({"g": list("abcd") * (N // 4)}, index=[f"c{i}" for i in range(N)])
        adata = ad.AnnData(stored, obs=obs, layers={"l": stored})
        adata.obsm["o"] = stored
        return adata

    return make


def backed(folder, form):
    obs = pd.DataFrame({"g": list("abcd") * (N // 4)}, index=[f"c{i}" for i in range(N)])
    ad.AnnData(FORMS[form](COUNTS), obs=obs).write_h5ad(folder / "b.h5ad")
    return ad.read_h5ad(folder / "b.h5ad", backed="r")


def same(matrix, expected):
    """Everything that a matrix can be asked for."""
    assert matrix.is_file
    assert matrix.shape == expected.shape
    for nbytes in (1, 100, 10**9):
        slabs = list(matrix.slabs(nbytes))
        assert [slab.start for slab in slabs] == np.cumsum([0, *(s.rows.shape[0] for s in slabs)])[:-1].tolist()
        found = [s.rows.toarray() if sp.issparse(s.rows) else s.rows.numpy() for s in slabs]
        np.testing.assert_array_equal(np.concatenate([expected[:0], *found]), expected)
    counts = matrix.counts()
    np.testing.assert_array_equal(counts.toarray(), expected)
    np.testing.assert_array_equal(counts.indices, sp.csr_array(expected).indices)  # canonical, as it says
    index = np.arange(len(expected))[::-2].copy()
    columns = np.arange(expected.shape[1])[::-2].copy()
    np.testing.assert_array_equal(matrix.rows(torch.from_numpy(index)), expected[index])
    np.testing.assert_array_equal(matrix.rows(torch.from_numpy(index), columns), expected[np.ix_(index, columns)])


@pytest.mark.parametrize("index", INDEX)
@pytest.mark.parametrize("form", FORMS)
def test_what_a_view_of_a_backed_file_holds(tmp_path, monkeypatch, form, index):
    monkeypatch.setattr(_base, "SLAB_BYTES", 200)
    monkeypatch.setattr(_base, "PASS_PARTS", 10**8)
    whole = backed(tmp_path, form)
    expected = whole.to_memory()[INDEX[index]].X
    same(open_matrix(whole[INDEX[index]], "X"), expected.toarray() if sp.issparse(expected) else np.asarray(expected))
    whole.file.close()


@pytest.mark.parametrize("form", FORMS)
def test_views_in_every_slot_and_views_of_views(opened, form):
    whole, order = opened(form), np.array([9, 2, 2, 40, 5, 59])
    for view, rows in ((whole[order, [4, 1]], order), (whole[10:][order[:-1], [4, 1]], order[:-1] + 10)):
        same(open_matrix(view, "X"), COUNTS[np.ix_(rows, [4, 1])])
        same(open_matrix(view, "l"), COUNTS[np.ix_(rows, [4, 1])])
        same(open_matrix(view, obsm_key="o"), COUNTS[rows])


def test_a_view_of_a_view_of_a_backed_file(tmp_path):
    whole = backed(tmp_path, "csr")
    try:
        view = whole[10:50, ::2][::3, [3, 0]]
    except ValueError:
        pytest.skip("this anndata makes none")
    same(open_matrix(view, "X"), COUNTS[10:50, ::2][::3, [3, 0]])
    whole.file.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_view_is_read_within_the_budget_and_in_the_order_of_the_file(tmp_path, monkeypatch, form):
    kind = {"dense": _file.FileRows, "csr": _file.FileCsr, "csc": _file.FileCsc}[form]
    read, plain = [], kind.read

    def noted(self, rows):
        read.append(rows)
        return plain(self, rows)

    monkeypatch.setattr(kind, "read", noted)
    monkeypatch.setattr(_base, "SLAB_BYTES", 360)
    monkeypatch.setattr(_base, "PASS_PARTS", 10**9 // 800)
    whole, order = backed(tmp_path, form), RNG.permutation(N)
    for rows in (np.sort(order[:30]), order):
        read.clear()
        matrix = open_matrix(whole[rows], "X")
        assert not read  # nothing yet
        for _ in matrix.slabs(100):
            pass
        passes = 1 + sum(after.start < before.start for before, after in pairwise(read))
        longest = max(r.stop - r.start for r in read)
        if rows is order:
            assert 1 < passes <= 6
        else:
            assert passes == 1
            assert longest <= 5 or form == "csc"  # rows of 100 bytes
        assert longest <= 40
        read.clear()
        matrix.taken(np.arange(len(rows)))
        assert [r.start for r in read] == sorted(r.start for r in read)
    whole.file.close()


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_distances_of_a_view(tmp_path, form):
    whole, order = backed(tmp_path, form), RNG.permutation(N)[:50]
    in_memory = whole.to_memory()[order]
    for metric, how in (("edistance", {}), ("edistance", {"bootstrap": True}), ("cosine_distance", {})):
        found, expected = (
            Distance(metric, "X").pairwise(adata, "g", random_state=0, **how) for adata in (whole[order], in_memory)
        )
        for a, b in zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    whole.file.close()


def test_what_would_be_written_to_a_view_of_a_backed_file_is_refused_before_any_work(tmp_path):
    view, m = backed(tmp_path, "csr")[:40], Mixscape()
    for verb in (m.perturbation_signature, m.mixscape, m.mixscale):
        with pytest.raises(ValueError, match=r"adata is a view of a backed file.* pass adata\.to_memory\(\)"):
            verb(view, "g", "a")
    signed = m.perturbation_signature(view, "g", "a", copy=True, n_neighbors=3, materialize=True)
    expected = m.perturbation_signature(view.to_memory(), "g", "a", copy=True, n_neighbors=3, materialize=True)
    np.testing.assert_allclose(
        sp.csr_array(signed.layers["X_pert"]).toarray(), sp.csr_array(expected.layers["X_pert"]).toarray(), rtol=1e-6
    )
    view.file.close()
