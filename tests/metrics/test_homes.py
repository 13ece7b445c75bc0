"""Every metric × verb × home of a matrix: the bits of the same numbers in memory, within the budget and beyond it."""

import itertools
import weakref

import anndata as ad
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from anndata.io import sparse_dataset, write_elem
from tqdm import tqdm

import pertorch
from pertorch import Distance, DistanceTest
from pertorch.data import Cells, Groups, Matrix, Pairs, open_matrix
from pertorch.data._storage import DaskRows, _base, _file
from pertorch.exec import _progress
from pertorch.metrics import METRICS, ArrayMetric, CentroidMetric, Euclidean, MomentMetric, Wasserstein, list_metrics
from pertorch.ops.pairwise import COPIES
from pertorch.stats import Bootstrap
from testing.pertorch import assert_close

distributed = pytest.importorskip("distributed")

MERGED = {m.name for m in METRICS.values() if issubclass(m, CentroidMetric | MomentMetric)} | {
    "mahalanobis",
    "mean_var_distribution",
    "mmd",
}
TIGHT = 5e-6  # GB: half of it holds about half of the cells


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(7)
    return rng.negative_binomial(2, 0.3 + 0.1 * (np.arange(101) % 4)[:, None], size=(101, 6)).astype(np.float64)


@pytest.fixture(scope="module")
def obs():
    """Groups scattered over the file; some cells in none."""
    labels = np.random.default_rng(1).permutation(np.repeat(["ctrl", "a", "b", None], [34, 24, 26, 17]))
    labels = pd.Categorical(labels, ["ctrl", "a", "b"])
    return pd.DataFrame({"target": labels}, index=np.arange(101).astype(str))


def memory(values, obs, form):
    return ad.AnnData(obs=obs.copy(), layers={"x": form(values)}, shape=values.shape)


def backed(values, obs, form, folder):
    ad.AnnData(form(values), obs=obs).write_h5ad(folder / "x.h5ad")
    found = ad.read_h5ad(folder / "x.h5ad", backed="r")
    return found, "X"


def in_zarr(values, obs, form, folder):
    group = zarr.open_group(folder / "x.zarr", mode="w", zarr_format=2)
    write_elem(group, "x", form(values), dataset_kwargs={"chunks": (10, 6)} if form is np.asarray else {})
    stored = group["x"] if form is np.asarray else sparse_dataset(group["x"])
    return ad.AnnData(obs=obs.copy(), layers={"x": stored}, shape=values.shape), "x"


def in_dask(values, obs, form, folder):
    chunks = [da.from_array(form(values[i : i + 17]), chunks=(17, 6), asarray=False) for i in range(0, 101, 17)]
    return ad.AnnData(obs=obs.copy(), layers={"x": da.concatenate(chunks)}, shape=values.shape), "x"


# Home, and what it holds; a matrix in Dask is also worked on by two processes.
HOMES = {
    "backed": (backed, np.asarray),
    "backed-csr": (backed, sp.csr_matrix),
    "backed-csc": (backed, sp.csc_matrix),
    "zarr": (in_zarr, np.asarray),
    "zarr-csr": (in_zarr, sp.csr_matrix),
    "dask": (in_dask, np.asarray),
    "dask-csr": (in_dask, sp.csr_matrix),
    "cluster": (in_dask, np.asarray),
}


@pytest.fixture(scope="module")
def cluster():
    """Two processes, which all tests share: each takes a second to start."""
    with (
        distributed.LocalCluster(2, processes=True, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=HOMES)
def homes(request, values, obs, tmp_path):
    """The numbers in memory, the same elsewhere, and the key of the latter."""
    make, form = HOMES[request.param]
    scheduler = request.getfixturevalue("cluster") if request.param == "cluster" else "threads"
    with dask.config.set(scheduler=scheduler):
        far, key = make(values, obs, form, tmp_path)
        yield memory(values, obs, sp.csr_matrix if form is sp.csc_matrix else form), far, key
    if far.isbacked:
        far.file.close()


def tables(adata, key, name):
    distance = Distance(name, layer_key=key)
    found = [distance.pairwise(adata, "target")]
    found += distance.onesided_distances(adata, "target", "ctrl", bootstrap=True, n_bootstrap=2)
    if name != "classifier_cp":  # which needs more than two groups
        found.append(DistanceTest(name, n_perms=3, layer_key=key)(adata, "target", "ctrl"))
    return found


# What fits is gathered by the same code for every metric, and then is a matrix in memory.
CASES = [("edistance", True), ("t_test", True), ("wasserstein", True), *((m.name, False) for m in list_metrics())]


@pytest.mark.parametrize(("name", "fits"), CASES)
def test_every_metric_of_every_home(homes, name, fits, monkeypatch):
    near, far, key = homes
    on_dask = open_matrix(far, key).is_dask
    whole = []
    plain = Matrix.taken

    def taken(matrix, index):
        whole.append(len(index))
        return plain(matrix, index)

    monkeypatch.setattr(Wasserstein, "least", 1)  # or all pairs of so few cells were one share
    monkeypatch.setattr(Matrix, "taken", taken)
    monkeypatch.setattr(DaskRows, "take", lambda *_: pytest.fail("rows came to the client"))
    with pertorch.settings.override(memory_gb=None if fits else TIGHT):
        for expected, found in zip(tables(near, "x", name), tables(far, key, name), strict=True):
            if name not in MERGED or (fits and not on_dask):
                np.testing.assert_array_equal(expected, found)
            else:
                assert_close(found, expected, rel=1e-12)
    assert on_dask or fits or name == "classifier_cp" or max(whole, default=0) <= 60  # cells of a pair


class Farthest(ArrayMetric):
    """A metric of one's own."""

    name = "farthest"

    def between(self, x, y):
        return np.abs(x[:, None] - y).sum(2).max()


@pytest.mark.parametrize("homes", ["backed-csr", "dask"], indirect=True)
@pytest.mark.parametrize("metric", [Farthest(), Euclidean(agg_fct=np.median)])
def test_what_users_bring(homes, metric):
    near, far, key = homes
    groups = Groups.from_obs(near, "target")
    weights = Bootstrap(groups.offsets, torch.from_numpy(groups.keys), 3, seed=1)
    pairs, cpu = Pairs.all(3, symmetric=True), [torch.device("cpu")]
    with pertorch.settings.override(memory_gb=TIGHT):
        expected, found = (
            metric.evaluate(Cells(open_matrix(a, k), groups), pairs, cpu, weights) for a, k in ((near, "x"), (far, key))
        )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("homes", ["backed", "dask", "cluster"], indirect=True)
@pytest.mark.parametrize("name", ["edistance", "t_test", "ks_test", "wasserstein", "mahalanobis"])
def test_bars_end_at_their_totals(homes, name, monkeypatch, capsys):
    """Those of the call, and those of passes and shares within it."""
    _, far, key = homes
    seen = []

    class Noted(tqdm):
        def close(self):
            if not self.disable:
                seen.append((self.desc, self.n, self.total, self.unit))
            super().close()

    monkeypatch.setattr(_progress, "_bar", lambda shown: Noted if shown else tqdm)
    monkeypatch.setattr(Wasserstein, "least", 1)
    with pertorch.settings.override(memory_gb=TIGHT, progress=True):
        tables(far, key, name)
    capsys.readouterr()
    assert len([desc for desc, *_ in seen if desc == name]) == 2
    assert (f"{name} test", 6, 6, " permutations") in seen
    assert all(n == total > 0 for _, n, total, _ in seen), seen
    assert name == "edistance" or any(unit == " cells" for *_, unit in seen), seen


def test_a_file_is_gathered_in_one_pass(values, obs, tmp_path, monkeypatch):
    far, key = in_zarr(values, obs, np.asarray, tmp_path)
    read, plain = [], _file.FileRows.read

    def noted(self, rows):
        read.append(rows)
        return plain(self, rows)

    monkeypatch.setattr(_file.FileRows, "read", noted)
    monkeypatch.setattr(_base, "SLAB_BYTES", 1000)
    Distance(layer_key=key).pairwise(far, "target", bootstrap=True, n_bootstrap=200)
    assert 5 < len(read) <= 11
    assert all(a.stop <= b.start for a, b in itertools.pairwise(read))


@pytest.mark.parametrize("name", ["ks_test", "wasserstein", "mahalanobis"])
def test_what_was_loaded_is_forgotten_before_more_is(values, obs, tmp_path, monkeypatch, name):
    far, key = in_zarr(values, obs, np.asarray, tmp_path)
    loaded, plain = [], Matrix.taken

    def taken(matrix, index):
        assert not [ref for ref in loaded if ref() is not None]
        found = plain(matrix, index)
        loaded.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Matrix, "taken", taken)
    with pertorch.settings.override(memory_gb=TIGHT):
        Distance(name, layer_key=key).pairwise(far, "target")
    assert len(loaded) > 1


def test_contrasts_of_a_file_stay_in_order(values, obs, tmp_path):
    """Pairs are loaded in another order than they were asked for in."""
    (far, key), near = in_zarr(values, obs, np.asarray, tmp_path), memory(values, obs, np.asarray)
    table = pd.DataFrame({"target": ["ctrl", "b", "a"], "reference": ["b", "a", "ctrl"]})
    with pertorch.settings.override(memory_gb=TIGHT):
        expected, found = (
            DistanceTest("ks_test", n_perms=50, layer_key=key).test_contrasts(a, table) for a in (near, far)
        )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert found["pvalue"].nunique() == 3


def test_one_against_all_reads_each_band_once(values, obs, tmp_path, monkeypatch):
    """Five groups of 20 cells, each a band; the one stands in the middle."""
    obs = obs.assign(target=np.random.default_rng(2).permutation(np.repeat([*"vwxyz", None], [20, 20, 20, 20, 20, 1])))
    far, key = in_zarr(values, obs, np.asarray, tmp_path)
    read, plain = [], Cells.rows

    def noted(cells, start, stop, device):
        read.append((start, stop))
        return plain(cells, start, stop, device)

    monkeypatch.setattr(Cells, "rows", noted)
    with pertorch.settings.override(memory_gb=COPIES * 6 * 8 * 45 * 1e-9):
        Distance(layer_key=key).onesided_distances(far, "target", "x")
    assert sorted(read) == [(start, start + 20) for start in range(0, 100, 20)]


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")  # anndata 0.12, of its own default
@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_a_screen_opened_lazily(values, obs, tmp_path, store):
    pytest.importorskip("xarray")
    near = memory(values, obs, sp.csr_matrix)
    getattr(near, f"write_{store}")(tmp_path / f"x.{store}")
    far = ad.experimental.read_lazy(tmp_path / f"x.{store}")
    for name in ("edistance", "t_test"):
        found = Distance(name, layer_key="x").onesided_distances(far, "target", "ctrl")
        pd.testing.assert_series_equal(found, Distance(name, layer_key="x").onesided_distances(near, "target", "ctrl"))


def test_a_test_of_sparse_cells_makes_no_more_dense_than_a_pair_or_the_budget(values, monkeypatch):
    labels = np.repeat([*"abcdefgh"], [20, 9, 9, 9, 9, 9, 9, 27])
    x = sp.csr_matrix(values)
    adata = ad.AnnData(
        obs=pd.DataFrame({"g": labels}, index=np.arange(101).astype(str)), layers={"x": x}, shape=x.shape
    )
    test, dense = DistanceTest(n_perms=30, layer_key="x"), []
    whole = test(adata, "g", "a")
    plain = Cells.on

    def noted(cells, device):
        dense.append(int(cells.offsets[-1]))
        return plain(cells, device)

    monkeypatch.setattr(Cells, "on", noted)
    with pertorch.settings.override(memory_gb=COPIES * 6 * 8 * 40.5 * 1e-9):
        found = test(adata, "g", "a")
    assert max(dense) == 47  # of the pair with the largest group; else 38
    assert sorted(set(dense)) == [38, 47]
    assert_close(found["distance"], whole["distance"], rel=1e-9, scale=1)
    pd.testing.assert_series_equal(found["pvalue"], whole["pvalue"])
