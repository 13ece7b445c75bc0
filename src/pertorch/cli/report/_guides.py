"""Step: which guide each cell carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from pertorch import pl
from pertorch.cli._guides import ASSIGNED, BY_COUNT, LABEL, MIXTURE, THRESHOLD, assign
from pertorch.cli.page import Column, Section, Table
from pertorch.cli.report._drawing import Drawing
from pertorch.cli.report._words import counted, listed, percent
from pertorch.pp import AssignmentSummary, assignment_summary

if TYPE_CHECKING:
    from anndata import AnnData

FLAGS = {
    "few_cells": "fewer than 20 cells",
    "one_count": "half of its cells hold the same count",
    "no_separation": "background and signal overlap",
    "ambient": "threshold raised above ambient counts",
    "no_threshold": "no threshold found",
}
MANY = 0.3  # share of cells with no guide, or several, that is worth a word
HISTOGRAMS = 4


@dataclass(frozen=True)
class GuideCalls:
    """An assignment.

    Attributes
    ----------
    adata
        Cells × guides with the calls in ``layers`` and the fits, if any, in ``var``.
    method
        How they were made.
    summary
        What it looks like.
    """

    adata: AnnData
    method: str
    summary: AssignmentSummary

    @classmethod
    def make(cls, guides: AnnData, method: str, *, progress: bool = False) -> GuideCalls:
        """Call guides. Written into `guides`.

        Raises
        ------
        ValueError
            If a count is negative, fractional, NaN or infinite.
        """
        assign(guides, method, progress=progress)
        return cls(guides, method, assignment_summary(guides, assigned=ASSIGNED))

    @property
    def labels(self) -> pd.Series:
        """The guides of each cell, joined by ``+``."""
        return self.adata.obs[LABEL]

    def targets(self, column: str) -> pd.Categorical:
        """Target of each cell whose guides have one target; missing for the others.

        Parameters
        ----------
        column
            Of ``var``: the target of each guide.
        """
        codes, names = pd.factorize(self.adata.var[column], sort=True)
        calls = sp.csr_array(self.adata.layers[ASSIGNED]).astype(np.int64)
        to_target = np.zeros((self.adata.n_vars, len(names)), np.int64)
        named = codes >= 0
        to_target[np.flatnonzero(named), codes[named]] = 1
        per_target = calls @ to_target
        one = ((per_target > 0).sum(1) == 1) & (np.diff(calls.indptr) == per_target.sum(1))
        return pd.Categorical.from_codes(np.where(one, per_target.argmax(1), -1), names)

    def own_guide(self, labels: pd.Series) -> pd.Categorical:
        """The guide of each cell that has one alone, and whose label is the guide's own; missing for the others."""
        one = pd.Series(self.labels.astype(object).to_numpy()).where(self.labels.isin(self.adata.var_names).to_numpy())
        text = pd.Series(labels.astype(object).to_numpy()).where(labels.notna().to_numpy()).map(str, na_action="ignore")
        own = text.groupby(one).agg(lambda of: of.mode().iloc[0] if of.notna().any() else None)
        return pd.Categorical(one.where(one.map(own) == text))

    def agreement(self, labels: pd.Series) -> tuple[float, int]:
        """Share of the cells with one guide whose label is that of most cells of the guide, and the number of all.

        It needs no list of which guide is whose: a guide's cells say that themselves.
        """
        one = self.labels.isin(self.adata.var_names).to_numpy() & labels.notna().to_numpy()
        n = int(one.sum())
        return (float((~self.own_guide(labels).isna()).sum() / n) if n else float("nan")), n


GUIDE_COLUMNS = (
    Column("guide", "guide"),
    Column("cells", "cells", "Cells in which the guide was called, alone or beside others.", "number"),
    Column("alone", "alone", "Cells in which it is the only guide called.", "number"),
    Column("threshold", "threshold", "Least count (UMI) at which the guide is called in a cell.", "number"),
    Column("median_count", "count", "Median count of the guide in cells in which it was called.", "number"),
    Column(
        "median_background",
        "background",
        "Median count in cells that hold it and in which it was not called: ambient molecules.",
        "number",
    ),
    Column(
        "overlap", "overlap", "Expected share of wrong decisions, by the fitted mixture's own posterior.", "percent"
    ),
    Column("look", "look at", f"Why to look twice: {'; '.join(FLAGS.values())}."),
)


def guide_table(calls: GuideCalls) -> pd.DataFrame:
    """One row for each guide."""
    found = calls.summary.guides
    table = found.drop(columns=list(FLAGS)).rename_axis("guide").reset_index()
    var = calls.adata.var
    table["threshold"] = var["threshold"].to_numpy() if calls.method in MIXTURE else np.nan
    table["look"] = ["; ".join(FLAGS[f] for f in FLAGS if row[f]) for _, row in found.iterrows()]
    return table


def guides_section(calls: GuideCalls, labels: pd.Series, drawing: Drawing, notices: tuple[str, ...]) -> Section:
    """What was called, and what to look at twice."""
    overall, table = calls.summary.overall, guide_table(calls)
    how = f"at least {THRESHOLD:g} counts" if calls.method in BY_COUNT else "thresholds fitted to each guide's counts"
    share, n = calls.agreement(labels)
    prose = (
        f"Of {counted(calls.adata.n_obs, 'cell')} × {counted(calls.adata.n_vars, 'guide')}, method `{calls.method}` "
        f"({how}) finds **one guide in {100 * overall['single']:.1f} % of cells**, several in "
        f"{100 * overall['multiple']:.1f} %, none in {100 * overall['unassigned']:.1f} %. ",
        f"Of the {counted(n, 'labelled cell')} with one guide, {100 * share:.1f} % carry the label that most cells of "
        "that guide carry: labels and calls tell the same story."
        if share >= 1 - MANY / 3
        else "",
    )
    worst = table.sort_values("overlap", ascending=False, kind="stable")["guide"].tolist()
    figures = drawing(
        lambda: pl.guides_per_cell(calls.adata, assigned=ASSIGNED, return_fig=True),
        "Guides called in a cell. One is what most screens want: cells with several are often two cells in one "
        "droplet.",
        f"Bars: {100 * overall['unassigned']:.1f} % of cells have no guide, {100 * overall['single']:.1f} % one.",
    )
    if calls.method in MIXTURE:
        figures += drawing(
            lambda: pl.guide_histogram(calls.adata, worst[:HISTOGRAMS], return_fig=True),
            "Counts of the guides whose background and signal overlap most, with the two fitted components and the "
            "threshold from which a guide is called.",
            f"Histograms of the counts of {listed(worst[:HISTOGRAMS])}.",
        )
    ranked = table.sort_values("cells", ascending=False, kind="stable")
    columns = tuple(column for column in GUIDE_COLUMNS if table[column.key].notna().any())
    shown = Table("Guides, those called in most cells first", ranked, columns, "guides.csv")
    return Section(
        "Guides", tuple(filter(None, prose)), (shown,), figures, (*notices, *_notices(calls, table, share, n))
    )


def _notices(calls: GuideCalls, table: pd.DataFrame, share: float, n: int) -> list[str]:
    overall, found = calls.summary.overall, []
    for what, key in (("no guide", "unassigned"), ("several guides", "multiple")):
        if overall[key] > MANY:
            found.append(f"{percent(overall[key])} of cells have {what}: check the guide library and the method.")
    if n and share < 1 - MANY / 3:
        found.append(
            f"Only {percent(share)} of the {counted(n, 'labelled cell')} with one guide carry the label that most "
            "cells of that guide carry: labels and guide counts may come from different cells."
        )
    flagged = table.loc[table["look"] != "", "guide"]
    if len(flagged):
        verb = "deserves" if len(flagged) == 1 else "deserve"
        found.append(f"{counted(len(flagged), 'guide')} {verb} a second look: {listed(flagged)}.")
    return found
