"""The metric in every verb, its options, what it says when it does not converge."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import pertorch
from pertorch import Distance, DistanceTest
from pertorch.data import Cells, Groups, Pairs, as_matrix, open_matrix
from pertorch.metrics import _transport, get_metric
from pertorch.ops.pairwise import COPIES
from pertorch.ops.softmin import _padded
from pertorch.stats import Bootstrap
from testing.pertorch import assert_close

CPU = [torch.device("cpu")]
TIGHT = {"threshold": 1e-6, "max_iterations": 20_000}


def divergence(x, y):
    """By the definition, with each term an OTT-style cost at one ε."""
    cost = ((x[:, None] - y) ** 2).sum(2)
    epsilon = 0.05 * cost.std()
    w = Distance("wasserstein", epsilon=epsilon, threshold=1e-5)
    return w(x, y) - w(x, x) / 2 - w(y, y) / 2


def test_verbs_agree(screen):
    distance = Distance("wasserstein", layer_key="log")
    x = screen.layers["log"]
    table = distance.pairwise(screen, "target")
    assert table.loc["a", "ctrl"] == table.loc["ctrl", "a"]
    assert not np.diag(table).any()
    assert_close(table.loc["a", "ctrl"], distance(x[:30], x[30:42]), rel=1e-6)
    assert_close(distance.onesided_distances(screen, "target", "ctrl"), table["ctrl"], rel=1e-6)
    contrasts = Distance.create_contrasts(screen, "target", "ctrl")
    rows = distance.contrast_distances(screen, contrasts)
    assert_close(rows["wasserstein"], [table.loc[g, "ctrl"] for g in rows["target"]], rel=1e-6)


@pytest.mark.parametrize("layer", ["log_csr", "log32", "log32_csr", "counts", "counts_csr"])
def test_storage_does_not_show(screen, layer):
    kind = layer.split("_")[0].removesuffix("32")
    expected = Distance("wasserstein", layer_key=kind).pairwise(screen, "target")
    assert_close(Distance("wasserstein", layer_key=layer).pairwise(screen, "target"), expected, rel=2e-6)


def test_integers(screen):
    x = screen.layers["counts"].astype(np.int32)
    expected = Distance("wasserstein")(x[:30].astype(float), x[30:].astype(float))
    assert_close(Distance("wasserstein")(sp.csc_matrix(x[:30]), x[30:]), expected, rel=1e-6)


@pytest.mark.parametrize("debiased", [False, True])
def test_replicates_are_resamples(screen, debiased, monkeypatch):
    groups = Groups.from_obs(screen, "target")
    cells = Cells(open_matrix(screen, layer_key="log"), groups)
    metric = get_metric("wasserstein", debiased=debiased, **TIGHT)
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2]))
    weights = Bootstrap(groups.offsets, torch.from_numpy(groups.keys), 5, seed=3)
    monkeypatch.setattr(_transport, "DRAWN_BYTES", 3 * 107 * 9 * 8)
    found = metric.evaluate(cells, pairs, CPU, weights)
    for r, column in enumerate(weights.columns(0, 5, CPU[0]).T):
        drawn = np.repeat(np.arange(107), column.long().numpy())
        again = Cells(as_matrix(screen.layers["log"][drawn], "log"), Groups(groups.names, groups.codes[drawn]))
        assert_close(found[:, r], metric.evaluate(again, pairs, CPU)[:, 0], rel=1e-6)


def test_bootstrap_and_contrasts(screen):
    distance = Distance("wasserstein", layer_key="log")
    mean, variance = distance.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=20)
    assert mean["ctrl"] == variance["ctrl"] == 0
    assert (variance[["a", "b", "c"]] > 0).all()
    contrasts = Distance.create_contrasts(screen, "target", "ctrl")
    rows, _ = distance.contrast_distances(screen, contrasts, bootstrap=True, n_bootstrap=20)
    assert_close(rows["wasserstein"], [mean[g] for g in rows["target"]], rel=1e-6)


def test_permutations():
    rng = np.random.default_rng(2)

    x = np.concatenate([rng.normal(size=(40, 3)), rng.normal(1, 1, (30, 3)), rng.normal(size=(20, 3))])
    adata = anndata.AnnData(x, obs={"target": ["ctrl"] * 40 + ["far"] * 30 + ["null"] * 20})
    table = DistanceTest("wasserstein", n_perms=99, layer_key="X")(adata, "target", "ctrl")
    assert table.loc["far", "pvalue"] == 0.01
    assert table.loc["null", "pvalue"] > 0.05


def test_debiased():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 4)), rng.normal(0.2, 1.1, (25, 4))
    distance = Distance("wasserstein", debiased=True)
    assert_close(distance(x, y), divergence(x, y), rel=1e-4)
    assert abs(distance(x, x)) < 1e-6
    assert Distance("wasserstein")(x, x) > 0.1
    assert distance(x, y) > 0
    assert_close(distance(x[:1], y[:1]), ((x[0] - y[0]) ** 2).sum(), rel=1e-12)


def shared_as_alone(screen, layer, devices, debiased=True):
    """Whether several devices give the bits of the first alone."""
    groups = Groups.from_obs(screen, "target")
    cells = Cells(open_matrix(screen, layer_key=layer), groups)
    metric, pairs = get_metric("wasserstein", debiased=debiased), Pairs.all(4, symmetric=True)
    done = []
    weights = Bootstrap(groups.offsets, torch.from_numpy(groups.keys), 3, seed=0)
    shared = metric.evaluate(cells, pairs, devices, weights, done.append)
    assert 0 < sum(done) <= metric.cost(cells, pairs, 3)
    return torch.equal(shared, metric.evaluate(cells, pairs, devices[:1], weights))


@pytest.mark.parametrize("n_devices", [2, 7])
def test_devices_share_the_pairs(screen, n_devices, monkeypatch):
    monkeypatch.setattr(_padded, "WORTH_SHARING", 0)  # several batches, though there is little to do
    assert shared_as_alone(screen, "log", CPU * n_devices)


def test_fewer_batches_than_devices(screen):
    assert shared_as_alone(screen, "log", CPU * 3, debiased=False)


@pytest.mark.gpu
@pytest.mark.parametrize("layer", ["log", "log32"])
def test_gpus_share_the_pairs(screen, layer, monkeypatch):
    n_devices = torch.cuda.device_count()
    if n_devices < 2:
        pytest.skip("one GPU")
    monkeypatch.setattr(_padded, "WORTH_SHARING", 0)
    assert shared_as_alone(screen, layer, [torch.device("cuda", i) for i in range(n_devices)])


@pytest.mark.gpu
def test_one_gpu_in_parts(screen):
    assert shared_as_alone(screen, "log32", [torch.device("cuda", 0)] * 3)


def test_warning_names_the_pairs(screen):
    distance = Distance("wasserstein", layer_key="log", max_iterations=2)
    with pytest.warns(RuntimeWarning, match=r"did not converge .*'ctrl' and 'a', 'ctrl' and 'b'.* 1 more") as caught:
        distance.pairwise(screen, "target")
    assert len(caught) == 1
    with pytest.warns(RuntimeWarning, match="in up to 3 replicates each"):
        distance.onesided_distances(screen, "target", "ctrl", bootstrap=True, n_bootstrap=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Distance("wasserstein", layer_key="log").pairwise(screen, "target")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("relaxation", 2.0), ("relaxation", 0.9), ("threshold", 0.0), ("epsilon", 0.0), ("epsilon", np.inf),
        ("max_iterations", 0), ("max_iterations", 2.5),
    ],
)  # fmt: skip
def test_bad_options(option, value):
    with pytest.raises(ValueError, match=f"{option}={value!r}"):
        Distance("wasserstein", **{option: value})


def test_bad_data():
    with pytest.raises(ValueError, match="neither can be empty"):
        Distance("wasserstein")(np.ones((0, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="NaN"):
        Distance("wasserstein")(np.full((2, 3), np.nan), np.ones((2, 3)))
    assert Distance("wasserstein")(np.zeros((5, 3)), np.ones((4, 3))) == 3.0


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"debiased": True}, {"bootstrap": True, "n_bootstrap": 10}])
@pytest.mark.parametrize("layer", ["log", "log32", "log32_csr"])
def test_gpu_as_cpu(screen, monkeypatch, layer, options):
    call = {k: v for k, v in options.items() if k != "debiased"}
    distance = Distance("wasserstein", layer_key=layer, debiased="debiased" in options)
    found = []
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(pertorch.settings, "device", device)
        table = distance.pairwise(screen, "target", **call)
        found.append(np.stack([t.to_numpy() for t in (table if call else (table,))]))
    assert_close(found[1], found[0], rel=3e-5)


def test_sparse_cells_go_by_batches_of_pairs_within_the_budget(screen, monkeypatch):
    distance = Distance("wasserstein", layer_key="log_csr")
    whole = distance.pairwise(screen, "target")
    sizes = np.sort(screen.obs["target"].value_counts().to_numpy())
    most, loaded = int(sizes[-2:].sum()), []
    plain = Cells.on
    monkeypatch.setattr(Cells, "on", lambda cells, device: loaded.append(plain(cells, device)) or loaded[-1])
    row = COPIES * screen.n_vars * screen.layers["log_csr"].dtype.itemsize
    with pertorch.settings.override(memory_gb=(most + 0.5) * row * 1e-9):
        parts = distance.pairwise(screen, "target")
    assert_close(parts, whole, rel=1e-6)
    assert len(loaded) > 1
    assert max(len(rows) for rows in loaded) <= most < sizes.sum()
