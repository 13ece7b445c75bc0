"""The same numbers on the scheduler of this process, on a cluster of two, and where one of the two is killed."""

import os
import signal
import sys
import time
from pathlib import Path

import anndata as ad
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import pertorch
from pertorch import Distance, DistanceTest
from pertorch._settings import SETTINGS
from pertorch.exec import FAN_IN, compute_tasks, map_reduce, own_device, reduce_tasks, task
from pertorch.metrics import Wasserstein
from testing.pertorch import assert_close

distributed, cloudpickle = pytest.importorskip("distributed"), pytest.importorskip("cloudpickle")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
TIGHT = 3e-5  # GB: far less than the cells


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(3).gamma(2.0, size=(400, 6)) * (np.arange(400) % 5 + 1)[:, None] ** 0.2


@pytest.fixture(scope="module")
def obs():
    return pd.DataFrame(
        {"g": pd.Categorical(np.array([*"abcde"])[np.arange(400) % 5])}, index=np.arange(400).astype(str)
    )


@pytest.fixture(scope="module")
def client():
    """Two processes: the tests share them, for each takes a second to start."""
    with (
        distributed.LocalCluster(2, processes=True, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def screen(x, obs):
    return ad.AnnData(obs=obs.copy(), layers={"x": x}, shape=x.shape)


def chunked(values, form=np.asarray):
    return da.concatenate(
        [da.from_array(form(values[i : i + 50]), chunks=(50, 6), asarray=False) for i in range(0, 400, 50)]
    )


def tables(adata):
    found = [
        Distance(name, layer_key="x").pairwise(adata, "g") for name in ("edistance", "t_test", "spearman_distance")
    ]
    found += Distance(layer_key="x").onesided_distances(adata, "g", "c", bootstrap=True, n_bootstrap=20)
    return [
        *found,
        *(DistanceTest(name, n_perms=20, layer_key="x")(adata, "g", "c") for name in ("edistance", "t_test")),
    ]


@pytest.mark.parametrize(("form", "fits"), [(np.asarray, True), (sp.csr_matrix, False)])
def test_schedulers_do_not_show(values, obs, client, form, fits):
    with pertorch.settings.override(memory_gb=None if fits else TIGHT):
        expected = tables(screen(form(values), obs))
        on_cluster = tables(screen(chunked(values, form), obs))
        with dask.config.set(scheduler="threads"):
            in_threads = tables(screen(chunked(values, form), obs))
    for a, b, c in zip(expected, on_cluster, in_threads, strict=True):
        np.testing.assert_array_equal(b, c)
        assert_close(b, a, rel=1e-12, scale=1)


def test_columns_in_chunks_too(values, obs):
    x = da.from_array(values, chunks=(70, 4))
    for name in ("edistance", "euclidean"):
        for budget in (None, TIGHT):
            with pertorch.settings.override(memory_gb=budget):
                found, expected = (Distance(name, layer_key="x").pairwise(screen(v, obs), "g") for v in (x, values))
            assert_close(found, expected, rel=1e-12, scale=1)


@pytest.mark.parametrize("method", ["poisson_gauss", "maximum", "threshold"])
def test_guides(values, client, method):
    counts = np.random.default_rng(0).poisson(0.2, (400, 6))
    counts[np.arange(400), np.arange(400) % 6] += np.random.default_rng(1).poisson(40, 400)
    obs = pd.DataFrame(index=np.arange(400).astype(str))
    whole, parts = sp.csr_matrix(counts.astype(np.float32)), chunked(counts.astype(np.float32), sp.csr_matrix)
    expected, found = (
        pertorch.GuideAssignment().assign(ad.AnnData(x, obs=obs), method=method, only_return_results=True)
        for x in (whole, parts)
    )
    assert list(found) == list(expected)
    bad = counts.astype(np.float32)
    bad[321, 4] = 0.5
    with pytest.raises(ValueError, match=r"X holds 0.5 at cell 321, guide 4"):
        pertorch.GuideAssignment().assign(ad.AnnData(chunked(bad, sp.csr_matrix), obs=obs), method=method)


def fatal(block, folder, block_info=None):
    """A chunk whose worker dies when it first computes it, while other tasks are under way."""
    if block_info and block_info[0]["chunk-location"][0] == 5:
        try:
            (Path(folder) / "died").touch(exist_ok=False)
        except FileExistsError:
            return block
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.parametrize("name", ["edistance", "wasserstein"])
def test_a_worker_killed_in_mid_run(values, obs, client, tmp_path, name, monkeypatch):
    monkeypatch.setattr(Wasserstein, "least", 1)
    x = chunked(values).map_blocks(fatal, folder=str(tmp_path), meta=np.empty((0, 0)))
    with pertorch.settings.override(memory_gb=TIGHT):
        expected = Distance(name, layer_key="x").pairwise(screen(values, obs), "g")
        found = Distance(name, layer_key="x").pairwise(screen(x, obs), "g")
    assert (tmp_path / "died").exists()
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_what_is_wrong_is_said_as_in_memory(values, obs, client):
    bad = values.copy()
    bad[123, 2] = np.nan
    for budget in (None, TIGHT):
        for name in ("edistance", "euclidean"):
            with (
                pertorch.settings.override(memory_gb=budget),
                pytest.raises(
                    ValueError, match=r"layers\['x'\] holds NaN or infinity in 1 cell\(s\), the first at row 123"
                ),
            ):
                Distance(name, layer_key="x").pairwise(screen(chunked(bad), obs), "g")


@pytest.mark.parametrize(
    ("name", "options", "replicates"),
    [
        ("wasserstein", {"max_iterations": 2}, {}),
        ("classifier_proba", {"max_iter": 1}, {}),
        ("classifier_cp", {"max_iter": 1}, {"bootstrap": True, "n_bootstrap": 2}),
    ],
)
def test_what_did_not_converge_is_said_once_and_here(values, obs, client, name, options, replicates, monkeypatch):
    monkeypatch.setattr(Wasserstein, "least", 1)
    said = []
    for x in (values, chunked(values)):
        with pytest.warns(match="did not converge") as caught:
            Distance(name, layer_key="x", **options).pairwise(screen(x, obs), "g", **replicates)
        said.append([str(warning.message) for warning in caught])
    assert said[0] == said[1]
    assert len(said[0]) == 1


def seen_there():
    return {name: getattr(pertorch.settings, name) for name in SETTINGS}


def test_settings_travel_with_the_tasks(client):
    """All but the bar, and which device of a kind: that is the worker's affair."""
    here = {"device": "cuda:1", "dtype": "float64", "memory_gb": 0.25, "progress": True, "seed": 5}
    for scheduler in ("threads", client):
        with dask.config.set(scheduler=scheduler), pertorch.settings.override(**here):
            (seen,) = compute_tasks([task(seen_there)])
        assert seen == {**here, "device": "cuda", "progress": False}


@pytest.mark.parametrize("name", ["edistance", "wasserstein", "t_test", "classifier_proba"])
def test_precision_is_what_the_caller_asks_for(values, obs, client, name):
    x = values.astype(np.float32)
    with pertorch.settings.override(dtype="float64"):
        expected, found = (Distance(name, layer_key="x").pairwise(screen(v, obs), "g") for v in (x, chunked(x)))
    assert_close(found, expected, rel=1e-12, scale=1)


def test_a_task_works_on_the_gpu_of_its_worker(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert own_device("cuda") == torch.device("cuda", 3)
    assert own_device("cpu") == torch.device("cpu")


def test_each_task_is_told_when_it_is_done(client):
    for scheduler in ("threads", client):
        done = []
        with dask.config.set(scheduler=scheduler):
            assert compute_tasks([dask.delayed(lambda i=i: i)() for i in range(9)], done.append) == [*range(9)]
        assert sorted(done) == [*range(9)]


def test_workers_stop_where_the_caller_does(client):
    def stop(_):
        raise KeyboardInterrupt

    slow = [dask.delayed(time.sleep)(0), *(dask.delayed(time.sleep)(0.5) for _ in range(20))]
    with dask.config.set(scheduler=client), pytest.raises(KeyboardInterrupt) as kept:
        compute_tasks(slow, stop)
    time.sleep(1)  # of the ten seconds that all would take
    assert not client.run_on_scheduler(_unfinished, names=[task.key for task in slow])
    assert kept.traceback  # which holds what it was about


def _unfinished(dask_scheduler, names):
    return [name for name in names if name in dask_scheduler.tasks]


def test_tasks_within_are_told_too(client):
    for scheduler in ("threads", client):
        leaves, done = [dask.delayed(str)(i) for i in range(20)], []
        with dask.config.set(scheduler=scheduler):
            assert compute_tasks([reduce_tasks(leaves, "".join)], done.append, leaves) == ["".join(map(str, range(20)))]
        assert sorted(done) == [*range(20)]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 65, 100])
def test_the_tree_is_the_same_here_and_in_tasks(n):
    def merge(parts):
        assert 1 < len(parts) <= FAN_IN
        return f"({' '.join(parts)})"

    here = map_reduce(range(n), str, merge)
    tasks = reduce_tasks([dask.delayed(str)(i) for i in range(n)], merge)
    assert here == compute_tasks([tasks])[0]
    assert here.replace("(", "").replace(")", "") == " ".join(map(str, range(n)))
