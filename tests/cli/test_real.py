"""Measured screens, from the file to the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

IFN_GAMMA = ["STAT1", "JAK2", "IFNGR2", "IFNGR1"]


def test_papalexi_as_pertpy(pertorch: Callable, shared_data: Path, tmp_path: Path) -> None:
    """Raw counts to E-distances: pertpy 1.4.0 on scanpy's 50 components of the same 298 genes."""
    folder = shared_data / "papalexi"
    ran = pertorch(
        "distance", folder / "papalexi_20729x303.h5ad", "--groupby", "gene_target", "--control", "NT",
        "--total-counts", "total_umis_full_transcriptome", "--exclude-genes", "MT-*", "--estimator", "v",
        "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert ran.code == 0
    assert "left out 5 genes that match MT-*" in ran.err
    found = pd.read_csv(tmp_path / "t.csv", index_col="gene_target")["edistance"]
    truth = pd.read_csv(folder / "papalexi_20729x303_edist_to_NT_pertpy.csv", index_col=0)["edistance to NT"]
    truth = truth.drop("NT")
    assert set(found.index) == set(truth.index)
    assert ((found - truth).abs() / truth).max() < 1e-5
    assert list(found.index[:4]) == IFN_GAMMA


def test_papalexi_report_says_who_is_on_top(pertorch: Callable, shared_data: Path, tmp_path: Path) -> None:
    """The interferon-gamma pathway first, and called alike, by data alone; guides from a file of their own."""
    folder = shared_data / "papalexi"
    ran = pertorch(
        "report", folder / "papalexi_20729x303.h5ad", "--guides", folder / "papalexi_gdo_20729x110.h5ad",
        "--groupby", "gene_target", "--control", "NT", "--split-by", "replicate",
        "--total-counts", "total_umis_full_transcriptome", "--exclude-genes", "MT-*",
        "--permutations", "99", "--bootstrap", "20", "--no-figures", "--out", tmp_path / "out",
    )  # fmt: skip
    assert ran.code == 0
    *summary, _ = (" ".join(text.split()) for text in ran.out.split("\n\n"))
    on_top = ", ".join(IFN_GAMMA[:3]) + f" and {IFN_GAMMA[3]}"
    assert f"{on_top}, the 4 farthest from NT, change cells alike" in summary[1]
    first_screen = (tmp_path / "out" / "report.html").read_text(encoding="utf-8").split("<nav")[0]
    assert f"<strong>{on_top}</strong>, the 4 farthest from NT" in first_screen
    found = pd.read_csv(tmp_path / "out" / "targets.csv", index_col="target")
    assert list(found.index[:4]) == IFN_GAMMA
    assert found["effect"][:4].all()
    pertpy = pd.read_csv(folder / "papalexi_20729x303_pertpy_mixscape.csv", index_col=0)
    share = (pertpy["mixscape_class_global"] == "KO").groupby(pertpy["gene_target"]).mean()
    # Of independent ports of the method, with approximate neighbours, two agree on 97.5 % of cells.
    assert (found["perturbed"] - share.reindex(found.index)).abs()[:4].max() < 0.025


def test_mcf10a_finds_tp53(pertorch: Callable, shared_data: Path) -> None:
    path = shared_data / "mcf10a" / "mcf10a_dox_6229x28_pca.h5ad"
    ran = pertorch("distance", path, "--groupby", "gene_single", "--control", "NTC")
    first, second = (line.split() for line in ran.out.splitlines()[1:3])
    assert (first[0], second[0]) == ("TP53", "STK11")
    assert float(first[2]) > 10 * float(second[2])


def test_papalexi_guides_as_published(pertorch: Callable, shared_data: Path, tmp_path: Path) -> None:
    import anndata

    path = shared_data / "papalexi" / "papalexi_gdo_20729x110.h5ad"
    assert pertorch("guides", path, "--threshold", "5", "--out", tmp_path / "calls.csv").code == 0
    found = pd.read_csv(tmp_path / "calls.csv", index_col="cell")["assigned_guide"]
    published = anndata.read_h5ad(shared_data / "papalexi" / "papalexi_20729x303.h5ad").obs["guide_max"].astype(str)
    assert list(found.index) == list(published.index)
    assert list(found) == list(published)
