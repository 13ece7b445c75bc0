"""``pertorch report``: what it writes, what it says, and what it leaves when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import combine_pvalues

from pertorch.cli import main
from pertorch.cli.report import _distances
from pertorch.cli.report._likeness import alike
from pertorch.cli.report._options import Options
from pertorch.ds import Screen, simulate_screen

TO_CONTROL = ["--groupby", "gene_target", "--control", "NT"]
QUICK = ["--bootstrap", "20", "--permutations", "199"]


class Parsed(HTMLParser):
    """What a test asks of a page."""

    VOID = frozenset(("meta", "br", "link", "img", "input", "hr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.tables: dict[str, list[dict[str, str]]] = {}
        self._open: list[str] = []
        self._caption, self._said, self._heads = "", "", []
        self._cell: str | None = None
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = dict(attrs)
        if tag not in self.VOID:
            self._open.append(tag)
        self.ids += [got["id"]] if "id" in got else []
        self.links += [got["href"]] if tag == "a" else []
        self.loaded += [got[key] for key in ("src", "xlink:href", "data", "srcset") if key in got]
        if tag == "caption":
            self._caption, self._heads = "", []
        if tag == "tr" and "tbody" in self._open:
            self.tables[self._caption].append({})
        if tag in ("td", "th") and "tbody" in self._open:
            self._cell, self._said = got.get("data-value"), ""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "caption":
            self.tables[self._caption.strip()] = []
            self._caption = self._caption.strip()
        if tag in ("td", "th") and "tbody" in self._open:
            row = self.tables[self._caption][-1]
            row[self._heads[len(row)]] = self._said if self._cell is None else self._cell

    def handle_data(self, data: str) -> None:
        if "script" in self._open or "style" in self._open:
            return
        self.text.append(data)
        if "caption" in self._open:
            self._caption += data
        elif "tbody" in self._open:
            self._said += data
        elif "thead" in self._open and data.strip():
            self._heads.append(data)


def exactly(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """A CSV as texts, since pandas rounds the last digit of numbers, and what pandas takes its columns for."""
    return pd.read_csv(path, dtype=str), pd.read_csv(path).dtypes


@pytest.fixture(scope="module")
def planted() -> Screen:
    """Two targets on each of two programs, and two without effect."""
    return simulate_screen(
        900, 150, 6, effects=[1.6, 1.4, 1.5, 1.3, 0, 0], n_programs=2, program_size=40, random_state=2
    )


@pytest.fixture(scope="module")
def folder(planted: Screen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with guides, in two batches."""
    out = tmp_path_factory.mktemp("report")
    planted.genes.write_h5ad(out / "screen.h5ad")
    planted.guides.write_h5ad(out / "guides.h5ad")
    words = ["report", out / "screen.h5ad", "--guides", out / "guides.h5ad", *TO_CONTROL, "--split-by", "batch", *QUICK]
    assert main([str(word) for word in [*words, "--out", out / "found", "--quiet"]]) == 0
    return out / "found"


@pytest.fixture(scope="module")
def page(folder: Path) -> Parsed:
    return Parsed((folder / "report.html").read_text(encoding="utf-8"))


def test_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotated.h5ad", "cells.csv", "distances_by_split.csv", "guides.csv", "markers.csv", "pairwise.csv",
        "perturbed_by_split.csv", "report.html", "run.json", "targets.csv",
    ]  # fmt: skip
    run = json.loads((folder / "run.json").read_text())
    assert run["parameters"]["split_by"] == "batch"
    assert run["parameters"]["permutations"] == 199
    assert {"pertorch", "torch", "anndata"} <= set(run["versions"])


def test_finds_what_was_planted(folder: Path, page: Parsed) -> None:
    table = pd.read_csv(folder / "targets.csv", index_col="target")
    assert list(table.index[table["effect"]]) == list(table.index[:4])
    assert set(table.index[:4]) == {"target1", "target2", "target3", "target4"}
    assert table["lower"].lt(table["edistance"]).all()
    assert table["upper"].gt(table["edistance"]).all()
    assert table["perturbed"][:4].between(0.5, 0.95).all()
    assert table["alike"]["target1"] == table["alike"]["target3"] != table["alike"]["target2"]
    assert table["alike"]["target2"] == table["alike"]["target4"]
    text = "".join(page.text)
    assert "4 of 6 targets change their cells" in text
    assert text.index("change cells alike") < text.index("What to look at next")


def test_distances_of_splits_together(folder: Path) -> None:
    strata = pd.read_csv(folder / "distances_by_split.csv")
    for target, row in pd.read_csv(folder / "targets.csv", index_col="target").iterrows():
        parts = strata[strata["gene_target"] == target]
        assert len(parts) == 2
        assert row["cells"] == parts["cells"].sum()
        np.testing.assert_allclose(row["edistance"], np.average(parts["edistance"], weights=parts["cells"]))
        np.testing.assert_allclose(row["pvalue"], combine_pvalues(parts["pvalue"]).pvalue)


def test_page_is_whole_and_asks_for_nothing(folder: Path, page: Parsed) -> None:
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (folder / link).is_file()
    assert page.loaded  # what figures hold as images, and refer to within themselves
    assert all(source.startswith(("#", "data:")) for source in page.loaded)
    assert "http" not in (folder / "report.html").read_text(encoding="utf-8").replace("http-equiv", "")


@pytest.mark.parametrize(
    ("caption", "file", "columns"),
    [
        ("All targets, the farthest from the control first", "targets.csv",
         {"target": "target", "cells": "cells", "E-distance": "edistance", "from": "lower", "to": "upper",
          "adjusted p": "pvalue_adj", "perturbed": "perturbed", "score": "score"}),
        ("E-distance in each batch, the farthest first", "distances_by_split.csv",
         {"target": "gene_target", "batch": "batch", "E-distance": "edistance", "p": "pvalue"}),
        ("Perturbed cells in each batch", "perturbed_by_split.csv", {"target": "target", "perturbed": "perturbed"}),
    ],
)  # fmt: skip
def test_tables_hold_the_numbers_of_the_files(
    folder: Path, page: Parsed, caption: str, file: str, columns: dict[str, str]
) -> None:
    written, kinds = exactly(folder / file)
    shown = pd.DataFrame(page.tables[caption]).replace("–", np.nan)
    assert len(shown) == len(written)
    for title, column in columns.items():
        if kinds[column].kind in "if":
            np.testing.assert_array_equal(shown[title].astype(float), written[column].astype(float))
        else:
            assert list(shown[title]) == list(written[column])


def test_annotated_file(folder: Path, planted: Screen) -> None:
    adata = anndata.read_h5ad(folder / "annotated.h5ad")
    assert (adata.X != planted.genes.X).nnz == 0
    assert {"assigned_guide", "mixscape_class", "mixscape_class_p_ko", "mixscale_score"} <= set(adata.obs)
    assert adata.obsm["X_pca"].shape == (900, 50)
    cells = pd.read_csv(folder / "cells.csv", index_col="cell")
    assert list(cells["mixscape_class"]) == list(adata.obs["mixscape_class"])
    found = adata.uns["pertorch_report"]["targets"]["edistance"]
    np.testing.assert_array_equal(found, exactly(folder / "targets.csv")[0]["edistance"].astype(float))


def test_labels_from_guides(pertorch: Callable, planted: Screen, tmp_path: Path) -> None:
    """Without labels, cells get those of the guides called in them; a cell with guides of two targets gets none."""
    bare = planted.genes.copy()
    truth = bare.obs.pop("gene_target")
    guides = planted.guides.copy()
    another = int(np.flatnonzero(truth != truth.iloc[0])[0])
    guides.X = sp.vstack([guides.X[0].maximum(guides.X[another]), guides.X[1:]], format="csr")
    bare.write_h5ad(tmp_path / "bare.h5ad")
    guides.write_h5ad(tmp_path / "guides.h5ad")
    out = ["--out", tmp_path / "out", "--no-figures", "--no-mixscape", *QUICK]
    ran = pertorch("report", tmp_path / "bare.h5ad", "--guides", tmp_path / "guides.h5ad", *TO_CONTROL, *out)
    assert ran.code == 0
    found = pd.read_csv(tmp_path / "out" / "cells.csv", index_col="cell")["gene_target"]
    assert found.isna().iloc[0]
    assert (found == truth.astype(str)).mean() > 0.95
    assert "was labelled with the target of the guides" in (tmp_path / "out" / "report.html").read_text()


def test_guides_find_their_cells(pertorch: Callable, planted: Screen, tmp_path: Path) -> None:
    """In another order, and some without guide counts."""
    planted.genes.write_h5ad(tmp_path / "genes.h5ad")
    planted.guides[::-1][:800].copy().write_h5ad(tmp_path / "guides.h5ad")
    out = ["--out", tmp_path / "out", "--no-figures", "--no-mixscape", *QUICK]
    ran = pertorch("report", tmp_path / "genes.h5ad", "--guides", tmp_path / "guides.h5ad", *TO_CONTROL, *out)
    assert ran.code == 0
    called = pd.read_csv(tmp_path / "out" / "cells.csv")["assigned_guide"]
    truth = planted.genes.obs["guide"].astype(str).to_numpy()
    assert (called[:100] == "negative").all()
    assert (called[100:] == truth[100:]).mean() > 0.95
    assert "100 cells have no guide counts" in (tmp_path / "out" / "report.html").read_text()


def test_without_figures(
    pertorch: Callable, screen_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertorch.cli.report._drawing.find_spec", lambda _: None)
    assert pertorch("report", screen_file, *TO_CONTROL, *QUICK, "--out", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" not in text
    assert "pip install" in text


def test_same_seed_same_numbers(pertorch: Callable, screen_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [screen_file, *TO_CONTROL, *QUICK, "--no-figures", "--no-mixscale", "--out", out, "--seed", 3, "--quiet"]
    tables = []
    for _ in range(2):
        ran = pertorch("report", *words)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.endswith(f"Report: {out / 'report.html'}\n")
        tables.append((out / "targets.csv").read_text())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("stopped", ["pertorch.cli.report._compose.render", "anndata.AnnData.write_h5ad"])
def test_interrupted(
    pertorch: Callable, screen_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """Ctrl-C leaves what was there before, and no half files."""
    (tmp_path / "report.html").write_text("of before")

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stopped, stop)
    ran = pertorch("report", screen_file, *TO_CONTROL, *QUICK, "--no-figures", "--out", tmp_path)
    assert ran.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "of before"


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_labels_of_other_types(pertorch: Callable, screen: Screen, tmp_path: Path) -> None:
    """Numbers as labels, a target of one cell, cells without a label, repeated names."""
    genes = screen.genes.copy()
    codes = genes.obs["gene_target"].cat.codes.to_numpy().astype(float)
    codes[0], codes[1:4] = 99, np.nan
    genes.obs["target"] = codes
    genes.obs_names = ["c"] * genes.n_obs
    AnnData(genes.X, obs=genes.obs[["target"]]).write_h5ad(tmp_path / "s.h5ad")
    words = ["--groupby", "target", "--control", "5.0", *QUICK, "--out", tmp_path / "out"]
    ran = pertorch("report", tmp_path / "s.h5ad", *words)
    assert ran.code == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert "3 cells have no label" in text
    assert "Names of cells repeat" in text
    assert "too few cells to test, one each: 99.0" in text


def test_few_permutations_for_most_many_for_few(monkeypatch: pytest.MonkeyPatch, planted: Screen) -> None:
    """A p that a few permutations leave small is that of many."""
    from pertorch.cli.report._study import Study
    from pertorch.tl import Distance, DistanceTest

    work = planted.genes.copy()
    work.obsm["X_pca"] = np.random.default_rng(0).normal(size=(900, 3))
    study = Study.of(work, Options("gene_target", "NT"))
    contrasts = Distance.create_contrasts(work, "gene_target", "NT")
    few, many = (DistanceTest(n_perms=n, obsm_key="X_pca").test_contrasts(work, contrasts) for n in (50, 400))
    monkeypatch.setattr(_distances, "LEAST_PERMUTATIONS", 50)
    monkeypatch.setattr(_distances, "LOOK_AGAIN", float(few["pvalue"].median()))
    found = _distances._tested(study, work, contrasts, 400)["pvalue"]
    again = few["pvalue"] < few["pvalue"].median()
    assert again.any()
    pd.testing.assert_series_equal(found, few["pvalue"].where(~again, many["pvalue"]))


@pytest.mark.parametrize(("targets", "strata", "least"), [(25, 1, 1_000), (300, 1, 6_000), (300, 3, 1_000)])
def test_permutations_let_one_target_pass(targets: int, strata: int, least: int) -> None:
    n = Options("g", "NT").n_permutations(targets, strata)
    assert n == least
    assert strata > 1 or targets / (n + 1) < 0.05


def test_alike() -> None:
    """b is near a and c, but a and c are not near each other: no group of three."""
    names = ["a", "b", "c", "d", "NT"]
    at = np.array([[4, 0], [4, 1.5], [4, 3.4], [0, 3], [0, 0]], dtype=float)
    table = pd.DataFrame(np.sqrt(((at[:, None] - at) ** 2).sum(-1)), index=names, columns=names)
    assert alike(table) == (("a", "b"),)
    assert alike(table.loc[["a", "d", "NT"], ["a", "d", "NT"]]) == ()


BAD = {
    "no output": ([*TO_CONTROL], "the following arguments are required: -o/--out"),
    "output over a file": ([*TO_CONTROL, "--out", "taken"], "there is a file of that name"),
    "no such column": (["--groupby", "gene_targt", "--control", "NT", "--out", "o"], "did you mean 'gene_target'?"),
    "control misspelt": (["--groupby", "gene_target", "--control", "NTT", "--out", "o"], "did you mean 'NT'?"),
    "no such split": ([*TO_CONTROL, "--split-by", "batches", "--out", "o"], "did you mean 'batch'?"),
    "no such guides": ([*TO_CONTROL, "--guides", "absent.h5ad", "--out", "o"], "absent.h5ad is not there"),
    "guides of other cells": ([*TO_CONTROL, "--guides", "others.h5ad", "--out", "o"], "has no cell of the screen"),
    "guides and none": ([*TO_CONTROL, "--guides", "others.h5ad", "--no-guides", "--out", "o"], "exclude each other"),
    "no such method": ([*TO_CONTROL, "--guide-method", "guess", "--out", "o"], "invalid choice: 'guess'"),
    "no such layer": ([*TO_CONTROL, "--counts", "raw", "--out", "o"], "layers key 'raw' not found"),
    "no such embedding": ([*TO_CONTROL, "--obsm", "X_umap", "--out", "o"], "obsm key 'X_umap' not found"),
    "rate out of range": ([*TO_CONTROL, "--fdr", "5", "--out", "o"], "--fdr 5 must lie between 0 and 1"),
    "no such device": ([*TO_CONTROL, "--device", "tpu", "--out", "o"], "device='tpu' is not understood"),
}


@pytest.mark.parametrize(("options", "says"), BAD.values(), ids=BAD.keys())
def test_bad_requests(
    pertorch: Callable, screen: Screen, screen_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: list[str], says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    others = screen.guides.copy()
    others.obs_names = [f"x{name}" for name in others.obs_names]
    others.write_h5ad(tmp_path / "others.h5ad")
    ran = pertorch("report", screen_file, "--quiet", *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others.h5ad", "taken"]
