"""Each thing that can be wrong with a request: one sentence on stderr, exit code 2, nothing on stdout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from pertorch.ds import Screen

TO_CONTROL = ["--groupby", "gene_target", "--control", "NT"]


@pytest.fixture(scope="module")
def files(screen: Screen, screen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, all but one of them bad."""
    folder = tmp_path_factory.mktemp("bad")
    whole = screen_file.read_bytes()
    (folder / "good.h5ad").write_bytes(whole)
    (folder / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    (folder / "text.h5ad").write_text("cell,gene\n")
    (folder / "empty.h5ad").touch()
    with h5py.File(folder / "other.h5", "w") as file:
        file["matrix"] = [1]
    with h5py.File(folder / "broken.h5ad", "w") as file:
        file["obs"], file["var"], file["X"] = [1], [1], [1]

    def write(name: str, adata: AnnData) -> None:
        adata.write_h5ad(folder / name)

    def with_x(x: object) -> AnnData:
        return AnnData(x, obs=screen.genes.obs, var=screen.genes.var)

    counts = screen.genes.X
    write("nobody.h5ad", screen.genes[:0].copy())
    write("no_x.h5ad", with_x(None))
    write("zeros.h5ad", with_x(sp.csr_matrix(counts.shape, dtype=np.float32)))
    write("fractions.h5ad", with_x(counts * np.float32(10.3)))
    write("nan.h5ad", with_x(counts * np.float32(np.nan)))
    write("logged.h5ad", with_x(counts.log1p()))
    write("controls.h5ad", screen.genes[screen.genes.obs["gene_target"] == "NT"].copy())
    embedded = screen.genes.copy()
    embedded.obsm["X_pca"] = np.full((embedded.n_obs, 2), np.inf)
    embedded.obs["depth"] = 0.0
    write("infinite.h5ad", embedded)
    return folder


DISTANCE = {
    "no such file": ("absent.h5ad", TO_CONTROL, "absent.h5ad is not there"),
    "a directory": (".", TO_CONTROL, "is a directory"),
    "not HDF5": ("text.h5ad", TO_CONTROL, "is not an h5ad file"),
    "an empty file": ("empty.h5ad", TO_CONTROL, "is not an h5ad file"),
    "HDF5 of another kind": ("other.h5", TO_CONTROL, "without obs and var"),
    "h5ad that cannot be read": ("broken.h5ad", TO_CONTROL, "is damaged or cut short"),
    "cut short": ("cut.h5ad", TO_CONTROL, "is damaged or cut short: copy it again"),
    "no cells": ("nobody.h5ad", TO_CONTROL, "holds 0 cells × 120 features"),
    "no X": ("no_x.h5ad", TO_CONTROL, "X is empty"),
    "no counts": ("zeros.h5ad", TO_CONTROL, "only zeros: name a layer of raw counts with --counts"),
    "neither counts nor logged": ("fractions.h5ad", TO_CONTROL, "X holds fractions up to"),
    "NaN": ("nan.h5ad", TO_CONTROL, "X holds NaN or infinity"),
    "totals of what is logged": ("logged.h5ad", [*TO_CONTROL, "--total-counts", "depth"], "obs column 'depth' not"),
    "no group but the control": ("controls.h5ad", TO_CONTROL, "no group to compare with 'NT'"),
    "no pair": ("controls.h5ad", ["--groupby", "gene_target", "--pairwise"], "has 1 group(s)"),
    "infinite embedding": ("infinite.h5ad", TO_CONTROL, "obsm['X_pca'] holds NaN or infinity"),
    "zero totals": ("infinite.h5ad", [*TO_CONTROL, "--total-counts", "depth"], "'depth' is not above 0 in 400 cells"),
    "no such column": ("good.h5ad", ["--groupby", "gene_targt", "--control", "NT"], "did you mean 'gene_target'?"),
    "control misspelt": ("good.h5ad", ["--groupby", "gene_target", "--control", "NTT"], "did you mean 'NT'?"),
    "no control": ("good.h5ad", ["--groupby", "gene_target"], "one of the arguments --control --pairwise is required"),
    "control of all pairs": ("good.h5ad", [*TO_CONTROL, "--pairwise"], "not allowed with argument --control"),
    "no such stratum": ("good.h5ad", [*TO_CONTROL, "--split-by", "batches"], "did you mean 'batch'?"),
    "all pairs in strata": (
        "good.h5ad",
        ["--groupby", "gene_target", "--pairwise", "--split-by", "batch"],
        "--pairwise and --split-by",
    ),
    "no such metric": ("good.h5ad", [*TO_CONTROL, "--metric", "energy"], "metric='energy' is not one of: edistance,"),
    "no such estimator": ("good.h5ad", [*TO_CONTROL, "--estimator", "w"], "invalid choice: 'w'"),
    "estimator of a metric without": (
        "good.h5ad",
        [*TO_CONTROL, "--metric", "mse", "--estimator", "u"],
        "metric 'mse' has no option 'estimator'",
    ),
    "no replicates": ("good.h5ad", [*TO_CONTROL, "--bootstrap", "0"], "'0' is not a whole number of at least 1"),
    "no components": ("good.h5ad", [*TO_CONTROL, "--n-pcs", "many"], "'many' is not a whole number of at least 1"),
    "no such embedding": ("good.h5ad", [*TO_CONTROL, "--obsm", "X_umap"], "obsm key 'X_umap' not found"),
    "no such layer": ("good.h5ad", [*TO_CONTROL, "--layer", "counts"], "layers key 'counts' not found"),
    "no such layer of counts": ("good.h5ad", [*TO_CONTROL, "--counts", "raw"], "layers key 'raw' not found"),
    "two matrices": ("good.h5ad", [*TO_CONTROL, "--obsm", "X_pca", "--layer", "X"], "not allowed with argument"),
    "two embeddings": ("good.h5ad", [*TO_CONTROL, "--obsm", "X_pca", "--n-pcs", "9"], "--n-pcs asks for a new"),
    "totals that are no numbers": ("good.h5ad", [*TO_CONTROL, "--total-counts", "batch"], "'batch' holds category"),
    "no gene left": ("good.h5ad", [*TO_CONTROL, "--exclude-genes", "*"], "leaves none of 120 genes"),
    "no such device": ("good.h5ad", [*TO_CONTROL, "--device", "tpu"], "device='tpu' is not understood"),
    "output of another kind": ("good.h5ad", [*TO_CONTROL, "--out", "t.tsv"], "does not end in .csv or .h5ad"),
    "output into nowhere": ("good.h5ad", [*TO_CONTROL, "--out", "/no/such/t.csv"], "cannot be written: No such file"),
    "an option that is none": ("good.h5ad", [*TO_CONTROL, "--metrc", "mse"], "unrecognized arguments: --metrc mse"),
}


@pytest.mark.parametrize(("name", "options", "says"), DISTANCE.values(), ids=DISTANCE.keys())
def test_distance(pertorch: Callable, files: Path, name: str, options: list[str], says: str) -> None:
    one_sentence(pertorch("distance", files / name, *options), says)


@pytest.mark.parametrize(
    "name",
    ["text.h5ad", "empty.h5ad", "cut.h5ad", "nobody.h5ad", "no_x.h5ad", "zeros.h5ad", "nan.h5ad", "controls.h5ad"],
)
def test_report(pertorch: Callable, files: Path, tmp_path: Path, name: str) -> None:
    """The same files, the same sentences."""
    says = next(says for of, _, says in DISTANCE.values() if of == name)
    one_sentence(pertorch("report", files / name, *TO_CONTROL, "--quiet", "--out", tmp_path / "out"), says)
    assert not list(tmp_path.iterdir())


def test_output_over_a_directory(pertorch: Callable, files: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.csv").mkdir()
    one_sentence(
        pertorch("distance", files / "good.h5ad", *TO_CONTROL, "--out", tmp_path / "taken.csv"), "is a directory"
    )


GUIDES = {
    "no such method": (["--method", "guess"], "invalid choice: 'guess'"),
    "no such layer": (["--layer", "raw"], "layers key 'raw' not found"),
    "threshold of the mixture": (["--method", "mixture", "--threshold", "3"], "leave out --threshold"),
    "batches of the mixture": (["--method", "mixture", "--batch-key", "lane"], "leave out --batch-key"),
    "no such batches": (["--method", "gauss", "--batch-key", "lane"], "'lane'"),
    "no such option": (["--method", "ratio", "--set", "share=0.5"], "has no option 'share'"),
    "option that is none": (["--method", "ratio", "--set", "ratio=much"], "'ratio=much' is not OPTION=NUMBER"),
    "threshold that is none": (["--threshold", "few"], "invalid float value: 'few'"),
    "threshold of 0": (["--threshold", "0"], "assignment_threshold=0.0 must be above 0"),
    "output of another kind": (["--out", "calls.txt"], "does not end in .csv or .h5ad"),
}


@pytest.mark.parametrize(("options", "says"), GUIDES.values(), ids=GUIDES.keys())
def test_guides(pertorch: Callable, guides_file: Path, options: list[str], says: str) -> None:
    one_sentence(pertorch("guides", guides_file, *options), says)


def test_guides_of_fractions(pertorch: Callable, files: Path) -> None:
    one_sentence(pertorch("guides", files / "logged.h5ad"), "X holds")


OTHERS = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "no such command": (["distanc"], "invalid choice: 'distanc'"),
    "simulate into another kind": (["simulate", "screen.csv"], "does not end in .h5ad"),
    "simulate too few genes": (["simulate", "s.h5ad", "--genes", "60"], "n_genes=60 must be a whole number of at"),
    "demo over a file": (["demo", "--out", __file__], "cannot be made a directory"),
}


@pytest.mark.parametrize(("words", "says"), OTHERS.values(), ids=OTHERS.keys())
def test_others(
    pertorch: Callable, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_sentence(pertorch(*words), says)
    assert not list(tmp_path.iterdir())


def one_sentence(ran: tuple[int, str, str], says: str) -> None:
    code, out, err = ran
    assert code == 2
    assert out == ""
    assert err.startswith("pertorch: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert says in err
