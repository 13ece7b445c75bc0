"""One reader for h5ad, h5mu, zarr and the h5 of Cell Ranger, in every command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import write_elem

from pertorch.cli._formats import read_content
from pertorch.data import open_matrix
from pertorch.ds import Screen

KINDS = {"genes": "Gene Expression", "guides": "CRISPR Guide Capture"}


def write_cell_ranger(path: Path, screen: Screen) -> None:
    """As Cell Ranger 3 and later do: genes and guides as features of one matrix, the target of a guide as a tag."""
    counts = sp.hstack([screen.genes.X, screen.guides.X]).tocsr().astype(np.int32)
    names = [*screen.genes.var_names, *screen.guides.var_names]
    names[1] = names[0]  # a symbol that two genes share
    kinds = np.repeat(list(KINDS.values()), [screen.genes.n_vars, screen.guides.n_vars])
    targets = [*[""] * screen.genes.n_vars, *screen.guides.var["gene_target"].astype(str)]
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(screen.genes.obs_names, dtype="S")
        matrix["data"], matrix["indices"], matrix["indptr"] = counts.data, counts.indices, counts.indptr
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        features = {"id": [f"ENS{i}" for i in range(len(names))], "name": names, "feature_type": kinds}
        for name, values in (features | {"genome": ["hg"] * len(names), "gene_target": targets}).items():
            matrix[f"features/{name}"] = np.array(values, dtype="S")
        matrix["features/_all_tag_keys"] = np.array(["genome", "gene_target"], dtype="S")


def zarr_group(path: Path) -> zarr.Group:
    return zarr.open_group(path, mode="w", zarr_format=2)


def write_h5mu(path: Path, screen: Screen) -> None:
    """As mudata does; labels are those of the whole."""
    with h5py.File(path, "w") if path.suffix == ".h5mu" else nullcontext(zarr_group(path)) as file:
        modalities = file.create_group("mod")
        for name, adata in {"rna": screen.genes, "gdo": screen.guides}.items():
            bare = adata.copy()
            bare.obs = pd.DataFrame(index=adata.obs_names)
            write_elem(modalities, name, bare)
        write_elem(file, "obs", screen.genes.obs[["gene_target", "batch"]])


def write_mixed(path: Path, screen: Screen) -> None:
    """As scanpy reads a Cell Ranger file and writes it as h5ad."""
    parts = {KINDS["genes"]: screen.genes, KINDS["guides"]: screen.guides}
    bare = {kind: anndata.AnnData(part.X, obs=part.obs, var=part.var.iloc[:, :0]) for kind, part in parts.items()}
    both = anndata.concat(bare, axis="var", label="feature_types", merge="same")
    both.write_h5ad(path) if path.suffix == ".h5ad" else write_elem(zarr_group(path), "/", both)


WRITERS = {
    "screen.h5": write_cell_ranger, "screen.h5mu": write_h5mu, "screen.h5ad": write_mixed, "screen.zarr": write_mixed,
}  # fmt: skip


@pytest.mark.parametrize(("name", "writer"), WRITERS.items(), ids=WRITERS)
def test_parts(screen: Screen, tmp_path: Path, name: str, writer: Callable[[Path, Screen], None]) -> None:
    writer(tmp_path / name, screen)
    found = read_content(str(tmp_path / name))
    for part in KINDS:
        adata, truth = found.part(part, name).to_memory(), getattr(screen, part)
        assert (adata.X != truth.X).nnz == 0
        assert list(adata.obs_names) == list(truth.obs_names)
        if name != "screen.h5":
            assert list(adata.var_names) == list(truth.var_names)
            assert list(adata.obs["gene_target"]) == list(truth.obs["gene_target"])
    if name == "screen.h5":
        assert found.genes is not None
        assert found.genes.var_names.is_unique


@pytest.mark.parametrize(("name", "writer"), WRITERS.items(), ids=WRITERS)
def test_guides_of_one_file(
    pertorch: Callable, screen: Screen, guides_file: Path, tmp_path: Path, name: str, writer: Callable
) -> None:
    """The same calls as from a file of their own."""
    writer(tmp_path / name, screen)
    calls = []
    for file in (guides_file, tmp_path / name):
        assert pertorch("guides", file, "--method", "mixture", "--out", tmp_path / "calls.csv").code == 0
        calls.append((tmp_path / "calls.csv").read_text())
    assert calls[0].splitlines()[1:] == calls[1].splitlines()[1:]


@pytest.mark.parametrize("name", ["screen.h5mu", "screen.h5ad", "screen.zarr"])
def test_distances_of_one_file(
    pertorch: Callable, screen: Screen, screen_file: Path, tmp_path: Path, name: str
) -> None:
    """Guides are no genes."""
    WRITERS[name](tmp_path / name, screen)
    words = ["--groupby", "gene_target", "--control", "NT"]
    assert pertorch("distance", tmp_path / name, *words).out == pertorch("distance", screen_file, *words).out


@pytest.mark.parametrize("name", WRITERS)
def test_report_of_one_file(pertorch: Callable, screen: Screen, tmp_path: Path, name: str) -> None:
    """A Cell Ranger file has no labels: they are those of the guides."""
    WRITERS[name](tmp_path / name, screen)
    quick = ["--bootstrap", "9", "--permutations", "99", "--no-figures", "--out", tmp_path / "out"]
    ran = pertorch("report", tmp_path / name, "--groupby", "gene_target", "--control", "NT", *quick)
    assert ran.code == 0
    cells = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert (cells["gene_target"] == screen.genes.obs["gene_target"].astype(str).to_numpy()).mean() > 0.95
    assert (cells["assigned_guide"] == screen.genes.obs["guide"].astype(str).to_numpy()).mean() > 0.95
    assert len(anndata.read_h5ad(tmp_path / "out" / "annotated.h5ad").var_names) == screen.genes.n_vars


def test_zarr_stays_on_disk_with_all_that_it_holds(pertorch: Callable, screen: Screen, tmp_path: Path) -> None:
    whole = screen.genes.copy()
    whole.layers["dense"], whole.raw = whole.X.toarray(), whole.copy()
    write_elem(zarr_group(tmp_path / "s.zarr"), "/", whole)
    write_h5mu(tmp_path / "m.zarr", screen)
    assert (read_content(str(tmp_path / "m.zarr")).part("guides", "").X != screen.guides.X).nnz == 0
    words = ["--groupby", "gene_target", "--control", "NT", "--layer", "dense", "--out", tmp_path / "o.h5ad"]
    found = read_content(str(tmp_path / "s.zarr")).part("genes", "")
    assert all(open_matrix(found, layer).is_file for layer in ("X", "dense"))
    assert pertorch("distance", tmp_path / "s.zarr", *words).code == 0
    written = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert (written.X != whole.X).nnz == (written.raw.X != whole.raw.X).nnz == 0
    np.testing.assert_array_equal(written.layers["dense"], whole.layers["dense"])
    assert list(written.obs) == list(whole.obs)
    for chunk in (tmp_path / "s.zarr" / "X" / "data").rglob("0"):
        chunk.write_bytes(b"")
    ran = pertorch("distance", tmp_path / "s.zarr", *words, "--quiet")
    assert ran.code == 2
    assert "s.zarr is damaged or cut short: copy it again" in ran.err


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata.*", "ignore::DeprecationWarning:mudata.*")
def test_h5mu_of_mudata(screen: Screen, tmp_path: Path) -> None:
    pytest.importorskip("mudata")
    screen.to_mudata().write_h5mu(tmp_path / "screen.h5mu")
    found = read_content(str(tmp_path / "screen.h5mu"))
    assert list(found.part("genes", "").obs["gene_target"]) == list(screen.genes.obs["gene_target"])
    assert (found.part("guides", "").X != screen.guides.X).nnz == 0


def test_what_is_missing(pertorch: Callable, screen: Screen, tmp_path: Path) -> None:
    genes = screen.genes.copy()
    genes.var["feature_types"] = KINDS["genes"]
    genes.write_h5ad(tmp_path / "genes.h5ad")
    write_cell_ranger(tmp_path / "whole.h5", screen)
    whole = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "prot.h5mu", "w") as file:
        write_elem(file.create_group("mod"), "prot", screen.genes)
    for words, says in (
        (["guides", "genes.h5ad"], "holds no guide counts: they are features of type 'CRISPR Guide Capture'"),
        (["guides", "cut.h5"], "is damaged or cut short"),
        (["guides", "prot.h5mu"], "has modalities 'prot', none of them known"),
        (["distance", "whole.h5", "--groupby", "gene_target", "--control", "NT"], "obs column 'gene_target' not found"),
        (["report", "whole.h5", "--groupby", "target", "--control", "NT", "--out", "o"], "did you mean 'gene_target'?"),
    ):
        ran = pertorch(words[0], tmp_path / words[1], *words[2:], "--quiet")
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.err
        assert ran.err.count("\n") == 1
