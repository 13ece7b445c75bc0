"""A screen in a file, in zarr or in Dask's chunks gives what it gives in memory, in as little memory as it is given."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import pertorch
from mixscape import stores
from mixscape.stores import replicates
from pertorch.solvers.projection import Controls
from pertorch.tl import _blocks, _parts, _store
from pertorch.tl._parts import Part
from pertorch.tl._screen import Screen
from testing.pertorch import unchanged

SPLIT = {"split_by": "replicate"}


@pytest.fixture(scope="module")
def screen():
    return replicates()


@pytest.fixture(params=["h5ad", "h5ad-dense", "zarr", "dask"])
def stored(request, screen, tmp_path):
    return stores.STORES[request.param](screen, tmp_path)


@pytest.fixture
def rows_read(stored, monkeypatch):
    """Lengths of the runs of rows that are read."""
    storage = type(pertorch.data.open_matrix(stored, "X")._storage)
    lengths, real = [], storage.read
    monkeypatch.setattr(storage, "read", lambda self, run: lengths.append(run.stop - run.start) or real(self, run))
    return lengths


@pytest.mark.parametrize("options", [{}, SPLIT])
@pytest.mark.parametrize("memory_gb", [None, 3e-4])
def test_markers(screen, stored, options, memory_gb, rows_read):
    """Sums of float32 and U are exact, so that neither slabs nor runs of genes change a bit.

    The controls are read first, then the targets of all splits; each further run of genes takes two passes more.
    """
    expected = pertorch.perturbation_markers(screen, "target", "NT", **options)
    with pertorch.settings.override(memory_gb=memory_gb):
        found = pertorch.perturbation_markers(stored, "target", "NT", **options)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    passes, rest = divmod(sum(rows_read), screen.n_obs)
    assert rest == 0
    if type(stored.X).__module__.startswith("dask"):  # nothing is read here
        assert passes == 0
    else:
        assert (passes == 2) == (memory_gb is None)
        assert (len(rows_read) > passes) == (memory_gb is not None)


def _run(adata, signature, options, verb):
    adata = adata.copy() if not adata.isbacked and sp.issparse(adata.X) else adata
    m = pertorch.Mixscape()
    m.perturbation_signature(adata, "target", "NT", **signature)
    getattr(m, verb)(adata, "target", "NT", **options)
    return adata


@pytest.mark.parametrize("verb", ["mixscape", "mixscale"])
@pytest.mark.parametrize("options", [{}, SPLIT])
def test_targets_in_parts(screen, stored, verb, options, monkeypatch):
    """Of a matrix that is read for one batch at a time, the batches are the same, and so are the bits."""
    monkeypatch.setitem(_blocks.BATCH_BYTES, "cpu", 1)
    parts, real = [], Part.__new__
    monkeypatch.setattr(Part, "__new__", lambda *args: parts.append(args) or real(*args))
    expected = _run(screen, {"materialize": False}, options, verb)
    assert not parts
    monkeypatch.setattr(_parts, "memory_budget", lambda _: 1)
    found = _run(stored, {}, options, verb)
    tested = expected.uns[f"{verb}_status"]["mean_score" if verb == "mixscale" else "n_iter"].notna()
    assert len(parts) == tested.sum() > 1
    pd.testing.assert_frame_equal(found.obs, expected.obs, check_exact=True)
    pd.testing.assert_frame_equal(found.uns[f"{verb}_status"], expected.uns[f"{verb}_status"], check_exact=True)


def test_batches_depend_on_the_screen_alone(screen):
    """Not on threads, nor on the budget; and a marker adds up its controls alike in whatever company."""
    split = Screen.from_obs(screen, "target", "NT").splits[0]
    split = split.only(np.arange(len(split.targets)).repeat(30))
    markers = [np.arange(5)] * len(split.targets)
    cut, threads = [], torch.get_num_threads()
    for n_threads, memory_gb in ((1, None), (2, 1e-4), (7, 1.0)):
        torch.set_num_threads(n_threads)
        with pertorch.settings.override(memory_gb=memory_gb):
            cut.append([batch.tolist() for batch in _blocks.cut_batches(split, markers, torch.device("cpu"))])
    values = torch.rand(65, 40_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = [Controls.of(values[i : i + 1]) for i in range(len(values))]
    together = Controls.of(values)
    torch.set_num_threads(threads)
    assert cut[0] == cut[1] == cut[2]
    assert len(cut[0]) == 4
    for part in ("mean", "scatter"):
        assert torch.cat([getattr(of, part) for of in alone]).equal(getattr(together, part))


def _values(layer):
    layer = layer[...]
    return layer.toarray() if sp.issparse(layer) else np.asarray(layer)


@pytest.mark.parametrize("stored", ["h5ad", "h5ad-dense", "dask"], indirect=True)
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("options", [{}, {"output": "sparse"}, SPLIT | {"ref_selection_mode": "split_by"}])
def test_layer_in_a_store_of_its_own(screen, stored, tmp_path, suffix, options):
    expected = _run(screen, options | {"materialize": True}, {}, "mixscape")
    path = tmp_path / f"signature.{suffix}"
    with pertorch.settings.override(memory_gb=None if "output" in options else 2e-3):
        found = _run(stored, options | {"out": path}, {}, "mixscape")
    np.testing.assert_array_equal(_values(found.layers["X_pert"]), _values(expected.layers["X_pert"]))
    written = ad.read_h5ad(path) if suffix == "h5ad" else ad.read_zarr(path)
    np.testing.assert_array_equal(_values(written.X), _values(expected.layers["X_pert"]))
    assert list(written.obs_names) == list(screen.obs_names)
    assert list(written.var_names) == list(screen.var_names)
    assert (found.obs["mixscape_class"] == expected.obs["mixscape_class"]).all()
    assert not list(tmp_path.glob(".*part"))
    copied = pertorch.Mixscape().mixscape(found, "target", "NT", copy=True)
    np.testing.assert_array_equal(_values(copied.layers["X_pert"]), _values(expected.layers["X_pert"]))


def test_store_of_a_screen_in_memory(screen, tmp_path):
    adata = screen.copy()
    pertorch.Mixscape().perturbation_signature(adata, "target", "NT", out=tmp_path / "s.h5ad")
    expected = _run(screen, {}, {}, "mixscape").layers["X_pert"]
    np.testing.assert_array_equal(_values(adata.layers["X_pert"]), _values(expected))


def test_layer_in_memory_where_asked_for(screen, stored):
    expected = _run(screen, {}, {}, "mixscape").layers["X_pert"]
    pertorch.Mixscape().perturbation_signature(stored, "target", "NT", materialize=True)
    np.testing.assert_array_equal(_values(stored.layers["X_pert"]), _values(expected))


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        ("a.csv", ValueError, "must end in"),
        ("here.h5ad", FileExistsError, "exists already"),
        ("nowhere/a.zarr", FileNotFoundError, "there is no folder"),
    ],
)
def test_bad_names_of_stores(screen, tmp_path, out, error, text):
    (tmp_path / "here.h5ad").write_bytes(b"mine")
    with unchanged(screen), pytest.raises(error, match=text):
        pertorch.Mixscape().perturbation_signature(screen, "target", "NT", out=tmp_path / out)
    assert (tmp_path / "here.h5ad").read_bytes() == b"mine"


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_store_that_was_not_finished(screen, tmp_path, suffix, error, monkeypatch):
    real, slabs = _store.Store.put, []

    def put(self, *slab):
        slabs.append(slab)
        if len(slabs) == 3:
            raise error
        real(self, *slab)

    monkeypatch.setattr(_store.Store, "put", put)
    with unchanged(screen), pytest.raises(type(error)) as caught:
        pertorch.Mixscape().perturbation_signature(screen, "target", "NT", out=tmp_path / f"s.{suffix}", batch_size=50)
    assert not list(tmp_path.iterdir())
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert "nothing is left there" in str(caught.value)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_ctrl_c(screen, tmp_path, suffix):
    """Of another process, between any two instructions of it."""
    screen.write_h5ad(tmp_path / "screen.h5ad")
    script = f"""
        import time, anndata, pertorch
        from pertorch.tl import _store
        real = _store.Store.put
        def put(self, *slab):
            real(self, *slab)
            print("written", flush=True)
            time.sleep(0.05)
        _store.Store.put = put
        adata = anndata.read_h5ad({str(tmp_path / "screen.h5ad")!r}, backed="r")
        pertorch.Mixscape().perturbation_signature(
            adata, "target", "NT", out={str(tmp_path / f"s.{suffix}")!r}, batch_size=5
        )
    """
    environment = os.environ | {"PYTHONPATH": str(Path(pertorch.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        try:
            first = process.stdout.readline()
            parts = [p for p in tmp_path.iterdir() if p.name.endswith(".part")]
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (first, len(parts)) == (b"written\n", 1)
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert [p.name for p in tmp_path.iterdir()] == ["screen.h5ad"]


def test_components_of_a_file_that_is_too_large(screen, tmp_path):
    adata = screen.copy()
    del adata.obsm["X_pca"]
    backed = stores.h5ad(adata, tmp_path)
    with pertorch.settings.override(memory_gb=1e-4), pytest.raises(ValueError, match=r"settings\.memory_gb"):
        pertorch.Mixscape().perturbation_signature(backed, "target", "NT")


def test_nan_is_named_with_its_cell(screen, tmp_path):
    adata = screen.copy()
    adata.X.data[adata.X.indptr[321]] = np.nan
    backed = stores.h5ad(adata, tmp_path)
    with pytest.raises(ValueError, match=r"X holds NaN or infinity in 1 cell.*row 321"):
        pertorch.perturbation_markers(backed, "target", "NT")
