"""The table that a report is about: all that was found of each target, in one row."""

from __future__ import annotations

import pandas as pd

from pertorch.cli.page import Column, Section, Table
from pertorch.cli.report._distances import LEVEL, METRIC, Measured
from pertorch.cli.report._likeness import Likeness
from pertorch.cli.report._mixscape import Classified
from pertorch.cli.report._study import Study


def target_table(measured: Measured, likeness: Likeness | None, classified: Classified | None) -> pd.DataFrame:
    """One row for each target, the farthest first.

    Returns
    -------
    Index ``target``; the columns of :class:`Measured`, ``alike`` (number of its group; missing for none) and, with
    Mixscape, those of :class:`Classified`.
    """
    table = measured.targets.copy()
    groups = () if likeness is None else likeness.groups
    of_target = {target: k + 1 for k, group in enumerate(groups) for target in group}
    table["alike"] = pd.array([of_target.get(target, pd.NA) for target in table.index], dtype="Int64")
    return table if classified is None else table.join(classified.targets)


def targets_section(study: Study, table: pd.DataFrame) -> Section:
    """The table, explained."""
    options, control = study.options, f"`{study.control}`"
    columns = (
        Column("target", "target", f"Label in `{options.groupby}`."),
        Column("cells", "cells", "Its cells.", "number"),
        Column(METRIC, "E-distance", f"How far its cells are from {control}: 0 is no difference.", "number"),
        Column("lower", "from", f"Lower end of the {LEVEL * 100:.0f} % bootstrap interval of the distance.", "number"),
        Column("upper", "to", "Upper end.", "number"),
        Column("pvalue", "p", "How often chance alone sets the two as far apart, by permutation of labels.", "p"),
        Column("pvalue_adj", "adjusted p", "The same, for the false discovery rate over all targets.", "p"),
        Column("effect", "effect", f"Whether that is below {options.fdr:g}.", "flag"),
        Column("alike", "alike", "Targets of one number change cells alike: see below.", "number"),
        Column("markers", "markers", f"Genes in which its cells differ from {control}.", "number"),
        Column("perturbed", "perturbed", "Share of its cells that Mixscape calls perturbed.", "percent"),
        Column("score", "score", f"Mean Mixscale score of its cells, in standard deviations of {control}.", "number"),
        Column("status", "Mixscape", "Whether Mixscape told cells apart, or why not."),
    )
    frame = table.reset_index()
    shown = tuple(column for column in columns if column.key in frame)
    return Section(
        "Targets", tables=(Table("All targets, the farthest from the control first", frame, shown, "targets.csv"),)
    )
