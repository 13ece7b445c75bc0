"""The table of methods and homes: every method on every home gives what it gives in memory.

To the bit, but for sums of squares (t-tests), which are added up in the order of storage. Of a Dask array, nothing but
results comes to the client, and a worker may be lost.
"""

import os
import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import pertorch
from mixscape import stores
from pertorch.data._storage import DaskRows
from pertorch.exec import _progress

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
SPLIT = {"split_by": "replicate"}
NN, MEANS = {"materialize": False}, SPLIT | {"ref_selection_mode": "split_by", "materialize": False}
m = pertorch.Mixscape()


def markers(adata, **options):
    return pertorch.perturbation_markers(adata, "target", "NT", **options)


def signature(adata, **options):
    m.perturbation_signature(adata, "target", "NT", **options)
    if "X_pert" in adata.layers:
        layer = adata.layers["X_pert"]
        return layer.toarray() if sp.issparse(layer) else np.asarray(layer)
    return (
        adata.varm["X_pert_means"].to_numpy()
        if "X_pert_means" in adata.varm
        else adata.obsp["X_pert_neighbors"].toarray()
    )


def scored(verb, how=NN, **options):
    def run(adata):
        m.perturbation_signature(adata, "target", "NT", **how)
        getattr(m, verb)(adata, "target", "NT", **options)
        obs = adata.obs.to_memory() if hasattr(adata.obs, "to_memory") else adata.obs
        return obs.filter(regex="^mixsca").copy(), adata.uns[f"{verb}_status"]

    return run


def lda(adata):
    scored("mixscape")(adata)
    m.lda(adata, "target", "NT")
    return adata.uns["mixscape_lda"]


METHODS = {
    "markers": markers,
    "markers-split": lambda adata: markers(adata, **SPLIT),
    "t-test": lambda adata: markers(adata, test_method="t-test"),
    "neighbours": lambda adata: signature(adata, **NN),
    "means": lambda adata: signature(adata, **MEANS),
    "layer": lambda adata: signature(adata, materialize=True, output="dense"),
    "layer-means": lambda adata: signature(adata, **MEANS | {"materialize": True, "output": "dense"}),
    "mixscape": scored("mixscape"),
    "mixscape-split": scored("mixscape", MEANS, **SPLIT),
    "mixscale": scored("mixscale", MEANS, clip=3.0),
    "mixscale-split": scored("mixscale", **SPLIT, harmonize=True, score_controls=True),
    "lda": lda,
}
HOMES = [*stores.STORES, "cluster", "cluster-dense"]


@pytest.fixture(scope="module")
def screen():
    return stores.replicates()


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1])])  # workers import this file
        yield from _client()


def _client():
    with (
        distributed.LocalCluster(2, processes=True, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def expected(screen):
    """What each method gives in memory."""
    found = {}

    def of(method):
        if method not in found:
            found[method] = METHODS[method](screen.copy())
        return found[method]

    return of


@pytest.fixture
def nothing_is_read_here(monkeypatch):
    def read(*_):
        raise AssertionError("a chunk was computed for the client")

    monkeypatch.setattr(DaskRows, "read", read)


def assert_same(found, expected, rtol=0.0):
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True):
        if isinstance(b, pd.DataFrame):
            exact = {"check_exact": True} if rtol == 0 else {"rtol": rtol, "atol": rtol}
            pd.testing.assert_frame_equal(a, b, **exact)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("home", HOMES)
def test_table(screen, expected, client, method, home, tmp_path, nothing_is_read_here):
    of_cluster = home.startswith("cluster")
    stored = stores.STORES[home.replace("cluster", "dask")](screen, tmp_path)
    with nullcontext() if of_cluster else dask.config.set(scheduler="threads"):
        found = METHODS[method](stored)
    assert_same(found, expected(method), 1e-12 if method == "t-test" else 0.0)


@pytest.mark.parametrize("method", ["markers-split", "t-test", "mixscape-split", "layer"])
def test_a_small_budget(screen, expected, method, tmp_path, nothing_is_read_here):
    """Runs of genes, of splits, of batches, of chunks."""
    with dask.config.set(scheduler="threads"), pertorch.settings.override(memory_gb=1e-4):
        found = METHODS[method](stores.dask(screen, tmp_path))
    assert_same(found, expected(method), 1e-12 if method == "t-test" else 0.0)


def test_components_are_found_here(screen, tmp_path, nothing_is_read_here):
    found = []
    for adata in (screen.copy(), stores.dask(screen, tmp_path)):
        del adata.obsm["X_pca"]
        with pytest.warns(UserWarning, match="computing 50 principal components"):
            found.append(signature(adata, **NN))
    np.testing.assert_array_equal(*found)


def fatal(block, folder, spared, block_info=None):
    """A chunk whose worker dies when it computes it, after some times that it does not."""
    if block_info and block_info[0]["chunk-location"][0] == 3:
        times = len(list(Path(folder).glob("seen*")))
        (Path(folder) / f"seen{times}").touch()
        if times == spared:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.parametrize(("method", "spared"), [("markers", 0), ("mixscape", 1)])
def test_a_worker_killed_in_mid_run(screen, expected, client, method, spared, tmp_path):
    """Among markers, and later, when cells are gathered."""
    stored = stores.dask(stores.dense(screen), tmp_path)
    folder = tmp_path / "times"
    folder.mkdir()
    stored.X = stored.X.map_blocks(fatal, folder=str(folder), spared=spared, meta=np.empty((0, 0), np.float32))
    found = METHODS[method](stored)
    assert len(list(folder.iterdir())) > spared + 1
    assert_same(found, expected(method))


@contextmanager
def left_alone(adata):
    def state():
        return (
            adata.X,
            adata.obs.copy(),
            *(list(getattr(adata, at)) for at in ("uns", "obsm", "obsp", "varm", "layers")),
        )

    x, obs, *keys = state()
    yield
    assert adata.X is x
    pd.testing.assert_frame_equal(adata.obs, obs)
    assert list(state()[2:]) == keys


@pytest.mark.parametrize("on_cluster", [False, True])
def test_what_is_wrong_is_said_as_in_memory(screen, client, on_cluster, tmp_path):
    bad = screen.copy()
    bad.X.data[bad.X.indptr[321]] = np.nan
    counts = screen.copy()
    counts.X.data[:] = np.round(40 * counts.X.data)
    marker_sets = {f"g{i}": [f"gene{j}" for j in range(6)] for i in (1, 2, 3)}
    with nullcontext() if on_cluster else dask.config.set(scheduler="threads"):
        stored = stores.dask(bad, tmp_path)
        for call in (markers, METHODS["means"]):
            with left_alone(stored), pytest.raises(ValueError, match=r"X holds NaN or infinity in 1 cell.*row 321"):
                call(stored)
        stored = stores.dask(counts, tmp_path)
        m.perturbation_signature(stored, "target", "NT")
        with left_alone(stored), pytest.raises(ValueError, match="which is no logarithm of expression"):
            m.mixscape(stored, "target", "NT", de_genes_by_target=marker_sets)


def test_progress_tells_cells_and_targets(screen, client, tmp_path, monkeypatch):
    told = {}

    class Bar:
        def __init__(self, desc, **_):
            self.what = desc

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            told[self.what] = told.get(self.what, 0) + n

    monkeypatch.setattr(_progress, "_bar", lambda _: Bar)
    stored = stores.dask(screen, tmp_path)
    m.perturbation_signature(stored, "target", "NT")
    for on_cluster in (False, True):
        told.clear()
        with nullcontext() if on_cluster else dask.config.set(scheduler="threads"):
            m.mixscape(stored, "target", "NT")
        assert told == {
            "pass over X": screen.n_obs,
            "mixscape": int(stored.uns["mixscape_status"]["n_iter"].notna().sum()),
        }
