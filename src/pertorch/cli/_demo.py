"""``pertorch demo``: the main job on a screen whose truth is known."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pandas as pd
from anndata import AnnData

from pertorch.cli._console import Console
from pertorch.cli._device import computing_on
from pertorch.cli._embedding import embed
from pertorch.cli._guides import LABEL, NONE, assign
from pertorch.cli._io import check_folder, write
from pertorch.cli._question import Question
from pertorch.cli._report import announced, show, write_report
from pertorch.cli._simulate import write_screen
from pertorch.cli._table import format_table
from pertorch.cli.page import Column, Section, Table
from pertorch.cli.report import Files, Options, find
from pertorch.ds import Screen, simulate_screen
from pertorch.tl import Distance

N_EFFECTIVE, N_NULL = 18, 6
BOOTSTRAP = 100
CONTROL = "NT"


def run(args: Namespace) -> None:
    """Simulate, measure, compare with the truth, and report."""
    console = Console(args.quiet)
    folder = None if args.out is None else check_folder(args.out)
    with computing_on(args.device):
        console.note("simulating a screen")
        screen = _simulate(args.seed)
        console.note("measuring distances")
        distances = _distances(screen.genes, args.seed, console)
        console.note("calling guides")
        calls = _guide_calls(screen.guides)
        print(_printed(screen, distances, calls))
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_screen(screen, folder / "screen.h5ad", console)
        write(folder / "distances.csv", lambda path: distances.to_csv(path, index=False))
        options = Options("gene_target", CONTROL, seed=args.seed)
        found = find(Files(screen.genes, screen.guides), options, console)
        sources = {"file": "screen.h5ad", "guides": "screen.guides.h5ad"}
        page = write_report(
            found, folder, "A simulated screen", args.words, sources, [_truth(distances, found.table["perturbed"])]
        )
    show(page, announced(found, page), in_browser=args.open)


def _truth(distances: pd.DataFrame, perturbed: pd.Series) -> Section:
    """What was planted beside what was found."""
    columns = (
        Column("gene_target", "target"),
        Column("cells", "cells", "", "number"),
        Column("responders", "responders", "Share of its cells in which the effect was planted.", "percent"),
        Column(
            "effect", "planted", "Root mean square log₂ fold change of its program's genes in responders.", "number"
        ),
        Column(
            "perturbed", "perturbed", "Share of its cells that Mixscape calls perturbed: beside responders.", "percent"
        ),
        Column("rank", "rank", "Of the planted effect.", "number"),
        Column("edistance", "E-distance", f"To {CONTROL}, as found.", "number"),
        Column("sd", "sd", f"Of the E-distance over {BOOTSTRAP} bootstrap replicates.", "number"),
        Column("rank found", "rank found", "Of the E-distance.", "number"),
    )
    frame = distances.assign(perturbed=perturbed.reindex(distances["gene_target"]).to_numpy())
    return Section(
        "Planted beside found",
        (f"This screen was simulated, so the truth is known. {_correlation(distances)}.",),
        (Table("Planted effects and distances found", frame, columns, "distances.csv"),),
    )


def _simulate(seed: int) -> Screen:
    effects = [*np.linspace(1.2, 0.2, N_EFFECTIVE), *np.zeros(N_NULL)]
    return simulate_screen(5_000, 1_000, len(effects), effects=effects, control=CONTROL, random_state=seed)


def _distances(genes: AnnData, seed: int, console: Console) -> pd.DataFrame:
    """Planted effects and E-distances to the control, by rank of the effect."""
    embedded = AnnData(obs=genes.obs, obsm={"X_pca": embed(genes)})
    question = Question.ask(embedded, "gene_target", CONTROL)
    found = question.answer(
        Distance("edistance"), embedded, bootstrap=BOOTSTRAP, seed=seed, progress=console.progress
    ).set_index("gene_target")
    planted = genes.uns["planted"]
    found = found.loc[planted.index]
    return pd.DataFrame(
        {
            "gene_target": planted.index,
            "cells": found["cells"],
            "responders": planted["responder_fraction"].round(2),
            "effect": planted["effect"].round(2),
            "rank": planted["effect"].rank(ascending=False, method="min").astype(int),
            "edistance": found["edistance"],
            "sd": found["sd"],
            "rank found": found["edistance"].rank(ascending=False).astype(int),
        }
    ).reset_index(drop=True)


def _guide_calls(guides: AnnData) -> pd.DataFrame:
    """How the cells' labels compare with the guides that they carry, by method."""
    rows = []
    for method in ("max", "threshold", "mixture"):
        called = guides.copy()
        assign(called, method)
        labels, truth = called.obs[LABEL].astype(str), called.obs["guide"].astype(str)
        one = labels.isin(called.var_names)
        counts = {
            "right": (labels == truth).sum(),
            "another guide": (one & (labels != truth)).sum(),
            "several": (~one & (labels != NONE)).sum(),
            "none": (labels == NONE).sum(),
        }
        rows.append({"method": method, **counts})
    return pd.DataFrame(rows)


def _printed(screen: Screen, distances: pd.DataFrame, calls: pd.DataFrame) -> str:
    n_cells, n_genes = screen.genes.shape
    null = distances["effect"] == 0
    table = distances.rename(columns={"sd": "± sd"})
    return f"""\
A simulated screen: {n_cells:,} cells × {n_genes:,} genes, {len(distances)} targets, {screen.guides.n_vars} guides,
control {CONTROL}. Targets change a gene program by the effect that was planted (log2 fold change), in the cells that
respond; the last {N_NULL} targets change nothing.

1. Planted effect (left) and E-distance to {CONTROL} found (right; sd over {BOOTSTRAP} bootstrap replicates)

{format_table(table)}

{_correlation(distances)}
Weakest E-distance of a target with an effect: {distances.loc[~null, "edistance"].min():.4f}
Largest E-distance of a target without one:    {distances.loc[null, "edistance"].max():.4f}

2. Guide planted and guide called, cells by method

{format_table(calls)}

On your own file: pertorch report screen.h5ad --groupby gene_target --control NT --out report"""


def _correlation(distances: pd.DataFrame) -> str:
    correlation = distances["effect"].corr(distances["edistance"], method="spearman")
    return f"Rank correlation of planted effect and E-distance: {correlation:.3f}"
