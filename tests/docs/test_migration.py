"""Scripts written for a peer run with their import changed and nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pertorch

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script's names are after it ran in `folder` with its import replaced."""
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert text.count(old) == 1
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(text.replace(old, new), script, "exec"), names)
    return names


def from_pertpy(package: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return run("from_pertpy.py", "import pertpy as pt\n", f"import {package} as pt\n", folder, monkeypatch)


def test_from_pertpy(prepared_screen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = from_pertpy("pertorch", prepared_screen, monkeypatch)
    distances, share = names["to_control"].drop("NT"), names["adata"].uns["share"]
    assert list(distances.sort_values().index[::-1][:3]) == ["target1", "target2", "target3"]
    assert names["tests"].loc[["target1", "target2", "target3"], "significant_adj"].all()
    assert not names["tests"].loc["target5", "significant_adj"]
    assert share[["target1", "target2"]].min() > 0.4
    assert share[["target5", "NT"]].max() == 0


@pytest.mark.skipif(importlib.util.find_spec("pertpy") is None, reason="pertpy is not installed")
@pytest.mark.filterwarnings("ignore")  # of pertpy and what it imports
def test_as_pertpy(prepared_screen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (from_pertpy(package, prepared_screen, monkeypatch) for package in ("pertorch", "pertpy"))
    adata, order = ours["adata"], list(ours["pairwise"].index)
    assert list(adata.obs["guide"]) == list(theirs["adata"].obs["guide"])
    np.testing.assert_allclose(ours["pairwise"], theirs["pairwise"].loc[order, order], rtol=1e-5)
    as_pertpy = pertorch.Distance("edistance", estimator="v").onesided_distances(adata, "gene_target", "NT")
    np.testing.assert_allclose(as_pertpy, theirs["to_control"][as_pertpy.index], rtol=1e-5, atol=1e-9)
    assert (ours["tests"]["significant"] == theirs["tests"]["significant"][ours["tests"].index]).all()
    classes = [names["adata"].obs["mixscape_class_global"].astype(str) for names in (ours, theirs)]
    assert (classes[0] == classes[1]).mean() > 0.98, pd.crosstab(*classes)


def test_from_rapids(prepared_screen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(
        "from_rapids.py",
        "import rapids_singlecell.ptg as ptg\n",
        "import pertorch as ptg\n",
        prepared_screen,
        monkeypatch,
    )
    found = names["to_control"].drop("NT").sort_values(ascending=False)
    assert list(found.index[:3]) == ["target1", "target2", "target3"]
    assert (names["variance"].drop("NT") > 0).all()
    assert set(names["by_batch"].columns) == {"gene_target", "reference", "batch", "edistance"}
    assert names["by_batch"].iloc[names["by_batch"]["edistance"].argmax()]["gene_target"] in found.index[:2]
    scores = names["adata"].obs.groupby("gene_target", observed=True)["mixscale_score"].mean()
    assert scores["NT"] == 0
    assert scores[["target1", "target2"]].abs().min() > 1
    assert names["adata"].uns["mixscape_lda"].shape[0] <= names["adata"].n_obs
