"""Step: which cells were perturbed, and how strongly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pertorch import pl
from pertorch.cli._mixscape import SCORE, by_target
from pertorch.cli.page import Column, Figure, Section, Table
from pertorch.cli.report._drawing import Drawing
from pertorch.cli.report._study import Study
from pertorch.cli.report._words import counted, listed, percent
from pertorch.tl import Mixscape, perturbation_markers
from pertorch.tl._status import FEW_MARKERS, ONE_CELL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

CLASS = "mixscape_class"  # keys in obs, as the library's
CLASS_GLOBAL = f"{CLASS}_global"
MIN_MARKERS, LOGFC, PVAL = 5, 0.25, 0.05  # as the library's
TESTED, NOT_TESTED = "perturbed", (FEW_MARKERS, ONE_CELL)
MOST_DRAWN = 60  # targets in a figure
MOST_PROJECTED = 5_000_000  # rows of projections that are kept for figures
SHOWN_GENES = 5  # markers of a target on the page
ALL = 0.995  # of the cells of a target
FEW_OF_GUIDE = 10  # cells
ODD = 1 / 3  # of the share that the best guide of a target perturbs
CURVES = 3  # targets whose positions are drawn


class Classified(NamedTuple):
    """What Mixscape and Mixscale found; the classes and scores themselves are in ``work.obs``.

    Attributes
    ----------
    targets
        By target: ``markers``, ``perturbed`` (share of cells), ``status`` and, with Mixscale, ``score`` (mean).
    by_split
        The same by target and split; None where cells are not split.
    markers
        Every marker of every target (in each split), the smallest p first.
    """

    targets: pd.DataFrame
    by_split: pd.DataFrame | None
    markers: pd.DataFrame


def classify(study: Study, work: AnnData) -> Classified:
    """Signature, markers, classes and scores. Written into `work`, which is the report's own."""
    options, control = study.options, study.control
    tool = Mixscape()
    thresholds: dict[str, Any] = {"split_by": options.split_by, "logfc_threshold": LOGFC, "pval_cutoff": PVAL}
    how = thresholds | {"min_de_genes": MIN_MARKERS}
    tool.perturbation_signature(
        work,
        options.groupby,
        control,
        split_by=options.split_by,
        n_neighbors=options.neighbors,
        materialize=False,
    )
    projections = options.figures and len(study.cells) * study.n_controls <= MOST_PROJECTED
    tool.mixscape(work, options.groupby, control, perturbation_type=options.type, store_projections=projections, **how)
    if options.mixscale:
        tool.mixscale(work, options.groupby, control, **how)
    found = perturbation_markers(work, options.groupby, control, **thresholds)
    markers = found.sort_values("pval", kind="stable", ignore_index=True)
    by_split = by_target(work, split=options.split_by is not None)
    return Classified(_by_target(study, work, by_split, markers), by_split if options.split_by else None, markers)


def _by_target(study: Study, work: AnnData, by_split: pd.DataFrame, markers: pd.DataFrame) -> pd.DataFrame:
    """One row for each target, whatever the splits."""
    options, names = study.options, study.cells.index
    label = work.obs[options.groupby].astype(object)
    perturbed = (work.obs[CLASS_GLOBAL].astype(object) == options.type).groupby(label).mean().reindex(names)
    distinct = markers.astype({"target": object}).groupby("target")["gene"].nunique()
    table = pd.DataFrame({"markers": distinct.reindex(names, fill_value=0), "perturbed": perturbed})
    tested = {target: part["status"] for target, part in by_split.groupby("target")}
    status = [tested[str(name)] for name in names]
    table["status"] = [TESTED if (of == TESTED).any() else of.mode()[0] for of in status]
    table.loc[table["status"].isin(NOT_TESTED), "perturbed"] = np.nan  # nothing is known of them, which is not none
    if options.mixscale:
        scores = work.obs[SCORE].groupby(label).mean().reindex(names)
        scored = label[work.obs[SCORE].to_numpy() != 0].unique()
        table["score"] = scores.where(names.isin(scored))
    return table


def mixscape_section(
    study: Study, work: AnnData, found: Classified, ranked: pd.Index, guide_column: str | None, drawing: Drawing
) -> Section:
    """Classes: how many cells of which target, by which genes; of `ranked` targets the first are shown."""
    options = study.options
    best = found.targets.reindex(ranked)
    best = best[best["perturbed"] > 0]
    within = f" of the same `{options.split_by}`" if options.split_by else ""
    prose = (
        "Mixscape (Papalexi et al. 2021) asks of each cell of a target whether it was perturbed or escaped. A cell's "
        f"signature is the expression of the {options.neighbors} `{study.control}` cells most like it{within}, less "
        "its own. Markers are genes in which the target's cells differ from the controls (Wilcoxon test, adjusted p "
        f"below {PVAL:g}, at least {LOGFC:g} in log₂ fold change). Along the line from controls to target, in the "
        f"signature of the markers, a mixture of two normal distributions tells perturbed cells (`{options.type}`) "
        "from those like controls (`NP`).",
        f"A target with fewer than {MIN_MARKERS} markers{' in a split' if options.split_by else ''} is not tested "
        "there: its cells count as not perturbed, which does not say that it has no effect.",
    )
    tables = [_marker_table(found.markers, best.index.astype(str).tolist(), options.split_by is not None)]
    if found.by_split is not None:
        tables.insert(0, _split_table(found.by_split, options.split_by or ""))
    figures = _figures(study, work, best, guide_column, drawing)
    notices = [*_notices(found, best), *([] if guide_column is None else _odd_guides(study, work, best, guide_column))]
    return Section("Perturbed cells (Mixscape)", prose, tuple(tables), figures, tuple(notices))


def _figures(
    study: Study, work: AnnData, best: pd.DataFrame, guide_column: str | None, drawing: Drawing
) -> tuple[Figure, ...]:
    if best.empty:
        return ()
    options, targets = study.options, [str(name) for name in best.index]
    first: Any = best.index[0]
    by = "guide" if guide_column else "target"
    agree = "Guides of one target should agree: one that does not may not cut, or may hit something else. "
    agree = agree if guide_column else ""
    figures = drawing(
        lambda: pl.barplot(work, guide_column or options.groupby, targets=targets[:MOST_DRAWN], return_fig=True),
        f"Share of the cells of each {by} that were perturbed. {agree}{_first(targets)}",
        f"Bars; the first targets are {listed(targets[:4])}.",
    )
    for name in targets[:CURVES] if "mixscape" in work.uns else ():
        figures += drawing(
            partial(pl.perturbscore, work, options.groupby, name, perturbation_type=options.type, return_fig=True),
            f"{name}: where its cells and the controls lie on the line between them. What was not perturbed lies with "
            "the controls.",
            f"Densities of controls, escaped and perturbed cells of {name}.",
        )
    return figures + drawing(
        lambda: Mixscape.plot_heatmap(
            work, options.groupby, first, study.control, n_genes=15, perturbation_type=options.type,
            random_state=options.seed, return_fig=True,
        ),
        f"{first}: the genes that its cells lower and raise most, in cells by class, in standard deviations of each "
        f"gene. Escaped cells (`NP`) should look like `{study.control}`.",
        f"Heat map of markers of {first}.",
    )  # fmt: skip


def _first(targets: Sequence[Any]) -> str:
    return f"The first {MOST_DRAWN} of {len(targets):,} targets." if len(targets) > MOST_DRAWN else ""


def _split_table(by_split: pd.DataFrame, split_by: str) -> Table:
    columns = (
        Column("target", "target"),
        Column("split", split_by),
        Column("cells", "cells", "Cells of the target in this split.", "number"),
        Column("markers", "markers", "Genes in which they differ from the controls of the split.", "number"),
        Column("perturbed", "perturbed", "Share of these cells that were perturbed.", "percent"),
        Column("score", "score", "Their mean Mixscale score.", "number"),
        Column("status", "status", "Whether cells were told apart, or why not."),
    )
    shown = tuple(column for column in columns if column.key in by_split)
    return Table(f"Perturbed cells in each {split_by}", by_split, shown, "perturbed_by_split.csv", 500)


def _marker_table(markers: pd.DataFrame, targets: list[str], split: bool) -> Table:
    shown = markers[markers["target"].astype(str).isin(targets)]
    place = {target: k for k, target in enumerate(targets)}
    first = shown.groupby([*(["split"] if split else []), "target"], observed=True).head(SHOWN_GENES)
    order = first["target"].astype(str).map(place).sort_values(kind="stable").index
    columns = (
        Column("target", "target"),
        *((Column("split", "split", "Compared with the controls of this split."),) if split else ()),
        Column("gene", "gene"),
        Column(
            "logfoldchange", "log₂ fold change", "Of mean expression, to the controls: below 0 is lowered.", "number"
        ),
        Column("pval_adj", "adjusted p", "Wilcoxon test, Benjamini and Hochberg over genes.", "p"),
    )
    return Table(
        f"The {SHOWN_GENES} markers of smallest p of each target with perturbed cells; all {len(markers):,} markers "
        "are in the file",
        first.loc[order], columns, "markers.csv", 1_500,
    )  # fmt: skip


def _notices(found: Classified, best: pd.DataFrame) -> list[str]:
    notices = []
    faint = best[best["perturbed"] < 0.25]
    if len(faint):
        values = [f"{name} ({percent(share)})" for name, share in faint["perturbed"].items()]
        notices.append(
            f"In {counted(len(faint), 'target')} few cells were perturbed: {listed(values)}. Averages over all of "
            "their cells understate the effect: compare the perturbed ones alone."
        )
    whole = best[best["perturbed"] > ALL]
    if len(whole):
        notices.append(
            f"In {counted(len(whole), 'target')} all cells count as perturbed: {listed(whole.index)}. Real screens "
            "have cells that escape: the mixture found no second group, so read these shares with care."
        )
    n = int((found.targets["status"] == FEW_MARKERS).sum())
    if n > len(found.targets) / 2:
        notices.append(
            f"{n:,} of {counted(len(found.targets), 'target')} had too few markers to be tested by Mixscape: with few "
            "genes measured, or few cells, that is usual."
        )
    return notices


def _odd_guides(study: Study, work: AnnData, best: pd.DataFrame, guide_column: str) -> list[str]:
    """Guides that perturb far fewer of their cells than the target's other guides do."""
    label = work.obs[study.options.groupby].astype(object)
    cells = pd.DataFrame(
        {"target": label, "guide": work.obs[guide_column], "share": work.obs[CLASS_GLOBAL] == study.options.type}
    )
    of_guide = cells[label.isin(best.index)].groupby(["target", "guide"], observed=True)["share"].agg(["mean", "size"])
    strongest = of_guide["mean"].groupby(level=0).transform("max")
    odd = of_guide[(of_guide["size"] >= FEW_OF_GUIDE) & (strongest > ODD) & (of_guide["mean"] < ODD * strongest)]
    if odd.empty:
        return []
    said = [f"{guide} ({percent(share)})" for (_, guide), share in odd["mean"].items()]
    return [
        f"{counted(len(odd), 'guide perturbs', 'guides perturb')} less than a third as many of "
        f"{'its' if len(odd) == 1 else 'their'} cells as the best guide of the same target: {listed(said)}. Such "
        "cells dilute their target."
    ]


def mixscale_section(study: Study, work: AnnData, found: Classified, drawing: Drawing) -> Section:
    """Scores: how strongly each cell was perturbed."""
    ranked = found.targets["score"].dropna().sort_values(ascending=False, kind="stable")
    prose = (
        "Mixscale (Jiang et al. 2025) gives each cell a score instead of a class: its position on the line from "
        "controls to its target's cells, in standard deviations of the controls from their mean. 0 is a cell like "
        "the average control; above 2, few controls reach. For knock-down, which is graded, it says more than a "
        "class.",
    )
    if ranked.empty:
        return Section("Strength (Mixscale)", (*prose, f"No target has the {MIN_MARKERS} markers that a score needs."))
    targets = list(ranked.index[:MOST_DRAWN])
    figures = drawing(
        lambda: pl.mixscale_ridge(work, study.options.groupby, study.control, targets=targets, return_fig=True),
        "Scores of each target's cells, the strongest on top; the tick is the median. Two humps are perturbed and "
        "escaped "
        "cells." + (f" The first {MOST_DRAWN} of {len(ranked):,} targets." if len(ranked) > MOST_DRAWN else ""),
        f"Densities; the highest scores are those of {listed(targets[:4])}.",
    )
    return Section("Strength (Mixscale)", prose, (), figures)


def cell_columns(work: AnnData, perturbation_type: str) -> pd.DataFrame:
    """What was found of each cell."""
    columns = [CLASS, CLASS_GLOBAL, f"{CLASS}_p_{perturbation_type.lower()}", SCORE]
    return work.obs[[column for column in columns if column in work.obs]]
