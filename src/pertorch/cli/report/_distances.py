"""Step: how far each target's cells are from the controls, and whether chance explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pertorch import pl
from pertorch.cli.page import Column, Section, Table
from pertorch.cli.report._drawing import Drawing
from pertorch.cli.report._options import LEAST_PERMUTATIONS
from pertorch.cli.report._study import Study
from pertorch.cli.report._words import counted, listed, percent
from pertorch.tl import Distance, DistanceTest
from pertorch.tl._distance_test import adjust

if TYPE_CHECKING:
    from anndata import AnnData

METRIC, KEY = "edistance", "X_pca"
LEVEL = 0.95
LOOK_AGAIN = 0.05  # p of a test that is made with more permutations
BATCHES, MOST_BATCHES = ("batch", "replicate", "donor", "lane", "library", "sample", "gem_group", "plate"), 20
BY_CHANCE = 1e-3  # p of a chi-squared test
UNEVEN = 0.25  # share of a target's cells
FEW = 30  # cells of a target, or of the control, below which noise is the size of an effect


class Measured(NamedTuple):
    """Distances to the control.

    Attributes
    ----------
    targets
        By target, the farthest first: ``cells``, ``edistance``, ``lower``, ``upper``, ``pvalue``, ``pvalue_adj``,
        ``effect``.
    strata
        The same by target and split, without correction; None where cells are not split.
    n_permutations
        Of each test.
    """

    targets: pd.DataFrame
    strata: pd.DataFrame | None
    n_permutations: int


def measure(study: Study, work: AnnData) -> Measured:
    """E-distances in the embedding, bootstrap intervals, permutation tests.

    With splits all three are made within each: distances are means over splits weighted by the target's cells, widths
    of intervals are combined in quadrature, p-values by Fisher's method.

    Parameters
    ----------
    study
        Labels and options.
    work
        The same cells with ``obsm["X_pca"]``.
    """
    options = study.options
    splits = [options.split_by] if options.split_by else []
    contrasts = Distance.create_contrasts(work, options.groupby, study.control, split_by=splits)
    n_strata = work.obs[options.split_by].nunique() if options.split_by else 1
    n_permutations = options.n_permutations(len(study.cells), n_strata)
    distance = Distance(METRIC, obsm_key=KEY)
    table = _tested(study, work, contrasts, n_permutations)
    _, _, lower, upper = distance.contrast_distances(
        work, contrasts, bootstrap=True, n_bootstrap=options.bootstrap, random_state=options.seed,
        confidence_level=LEVEL, show_progressbar=study.progress,
    )  # fmt: skip
    table["below"] = table["distance"] - lower[METRIC].to_numpy()
    table["above"] = upper[METRIC].to_numpy() - table["distance"]
    table = table.rename(columns={"distance": METRIC})
    table["cells"] = _sizes(work, contrasts, [options.groupby, *splits])
    strata = None
    if splits:
        strata = _with_ends(table)[[options.groupby, *splits, "cells", METRIC, "lower", "upper", "pvalue"]]
        strata = strata.sort_values([METRIC], ascending=False, kind="stable", ignore_index=True)
    return Measured(_over_strata(table, options.groupby, options.fdr), strata, n_permutations)


def _tested(study: Study, work: AnnData, contrasts: pd.DataFrame, n: int) -> pd.DataFrame:
    """Permutation tests: a few permutations for all, and `n` for the contrasts whose p these leave small.

    That keeps p valid: what is below `LOOK_AGAIN` is a p of `n` permutations, which chance makes so small no more often
    than it should; what is above is one of a few, likewise.
    """

    def test(of: pd.DataFrame, n_perms: int) -> pd.DataFrame:
        tests = DistanceTest(METRIC, obsm_key=KEY, n_perms=n_perms, random_state=study.options.seed)
        return tests.test_contrasts(work, of, show_progressbar=study.progress)

    table = test(contrasts, min(n, LEAST_PERMUTATIONS))
    again = (table["pvalue"] < LOOK_AGAIN).to_numpy()
    if n > LEAST_PERMUTATIONS and again.any():
        table.loc[again, "pvalue"] = test(contrasts[again], n)["pvalue"].to_numpy()
    return table


def _sizes(work: AnnData, contrasts: pd.DataFrame, columns: list[str]) -> np.ndarray:
    sizes = work.obs[columns].astype(object).value_counts()
    return sizes.reindex(pd.MultiIndex.from_frame(contrasts[columns].astype(object))).to_numpy()


def _over_strata(table: pd.DataFrame, groupby: str, fdr: float) -> pd.DataFrame:
    """One row for each target."""
    from scipy.stats import combine_pvalues

    rows = {}
    for target, part in table.groupby(groupby, sort=False, observed=True):
        weight = (part["cells"] / part["cells"].sum()).to_numpy()
        p = part["pvalue"].to_numpy()
        rows[target] = {
            "cells": int(part["cells"].sum()),
            METRIC: float(weight @ part[METRIC]),
            "below": float(np.sqrt(((weight * part["below"]) ** 2).sum())),
            "above": float(np.sqrt(((weight * part["above"]) ** 2).sum())),
            "pvalue": float(combine_pvalues(p).pvalue) if len(p) > 1 else float(p[0]),
        }
    found = _with_ends(pd.DataFrame.from_dict(rows, orient="index"))
    found["pvalue_adj"] = adjust(found["pvalue"].to_numpy(), "fdr_bh")
    found["effect"] = found["pvalue_adj"] < fdr
    order = ["cells", METRIC, "lower", "upper", "pvalue", "pvalue_adj", "effect"]
    return found[order].sort_values(METRIC, ascending=False, kind="stable").rename_axis("target")


def _with_ends(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(lower=table[METRIC] - table["below"], upper=table[METRIC] + table["above"])


def distances_section(study: Study, measured: Measured, drawing: Drawing) -> Section:
    """The distances, drawn, and what to know about them."""
    options, table = study.options, measured.targets
    within = f" of the same `{options.split_by}`" if options.split_by else ""
    permutations = counted(measured.n_permutations, "permutation")
    if measured.n_permutations > LEAST_PERMUTATIONS:
        permutations += f" ({LEAST_PERMUTATIONS:,} where these leave it at {LOOK_AGAIN:g} or above)"
    prose = [
        "The E-distance (energy distance; Székely and Rizzo 2013, Peidli et al. 2024) of a target is twice the mean "
        f"distance between its cells and the `{study.control}` cells{within}, less the mean distances within both, in "
        "principal components. It is 0 where cells do not differ, and may fall below 0 by chance.",
        f"Its interval holds {LEVEL * 100:.0f} % of {counted(options.bootstrap, 'bootstrap resampling')} of the "
        f"cells, about the distance. p is the share of {permutations} of the labels that set the two groups as far "
        f"apart; adjusted p controls the false discovery rate over {counted(len(table), 'target')} (Benjamini and "
        f"Hochberg). A target has an effect where it is below {options.fdr:g}.",
    ]
    if options.split_by:
        prose.append(
            f"All three are made within each `{options.split_by}`: distances are averaged by the target's cells, "
            "intervals combined in quadrature, p-values by Fisher's method, so that differences between splits are "
            "no effect."
        )
    named = table.set_axis(table.index.astype(str))
    values = named[METRIC].rename(str(study.control))
    figures = drawing(
        lambda: pl.onesided_distances(
            values, interval=(named["lower"], named["upper"]), tests=named, label="E-distance", return_fig=True
        ),
        f"E-distance of each target to `{study.control}`, with its {LEVEL * 100:.0f} % bootstrap interval. Stars: "
        "adjusted p.",
        f"Dots with bars; the farthest are {listed(table.index[:4])}.",
    )
    tables: tuple[Table, ...] = ()
    if measured.strata is not None and options.split_by:
        tables = (_strata_table(measured.strata, options.groupby, options.split_by),)
    return Section("Distances", tuple(prose), tables, figures, tuple(_notices(study, measured)))


def _strata_table(strata: pd.DataFrame, groupby: str, split_by: str) -> Table:
    columns = (
        Column(groupby, "target"),
        Column(split_by, split_by),
        Column("cells", "cells", "Cells of the target in this split.", "number"),
        Column(METRIC, "E-distance", "To the controls of the same split.", "number"),
        Column("lower", "from", "Lower end of its interval.", "number"),
        Column("upper", "to", "Upper end.", "number"),
        Column("pvalue", "p", "Of the permutation test, not adjusted.", "p"),
    )
    return Table(f"E-distance in each {split_by}, the farthest first", strata, columns, "distances_by_split.csv", 500)


def _notices(study: Study, measured: Measured) -> list[str]:
    found, table = [], measured.targets
    few = table.index[table["cells"] < FEW]
    if len(few):
        found.append(
            f"{counted(len(few), 'target has', 'targets have')} fewer than {FEW} cells: {listed(few)}. Their "
            "distances are mostly noise, and no effect found in them is no evidence that there is none."
        )
    if study.n_controls < 5 * FEW:
        found.append(
            f"There are {counted(study.n_controls, f'{study.control} cell')}: every comparison shares their noise, so "
            "that targets may seem alike that are not."
        )
    least = 1 / (measured.n_permutations + 1)
    if measured.strata is None and least * len(table) > study.options.fdr:
        found.append(
            f"With {counted(measured.n_permutations, 'permutation')} no p is below {least:.2g}: too coarse for a "
            f"single target among {len(table):,} to pass the correction. Ask for more with `--permutations`."
        )
    found += _imbalance(study)
    small = table[table["effect"] & (table["lower"] <= 0)]
    if len(small):
        found.append(
            f"In {counted(len(small), 'target')} with an effect the interval of the distance still reaches 0: "
            f"{listed(small.index)}. Such an effect is small; look whether one guide or one replicate makes it."
        )
    return found


def _imbalance(study: Study) -> list[str]:
    """What is to be said of batches: the classic confounder."""
    from scipy.stats import chi2_contingency

    column, obs = study.options.split_by, study.adata.obs
    label = obs[study.options.groupby].astype(object)
    if column is None:
        return [
            f"The column `{name}` looks like a batch, and targets lie unevenly over it: with `--split-by {name}` its "
            "differences would not count as effects."
            for name in obs.columns
            if any(word in str(name).lower() for word in BATCHES) and 1 < obs[name].nunique() <= MOST_BATCHES
            if chi2_contingency(pd.crosstab(label, obs[name].astype(object))).pvalue < BY_CHANCE
        ]
    moved = _moved(label, obs[column], study).sort_values(ascending=False)
    skewed = moved[moved > UNEVEN]
    if skewed.empty:
        return []
    return [
        f"{counted(len(skewed), 'target lies', 'targets lie')} unevenly over `{column}`: {listed(skewed.index)}. For "
        f"{skewed.index[0]}, {percent(skewed.iloc[0])} of the cells would have to be in another `{column}` to match "
        "the controls. Distances are made within each, so this costs precision, not truth."
    ]


def _moved(label: pd.Series, batch: pd.Series, study: Study) -> pd.Series:
    """Share of each target's cells that would have to change batch to lie over them as the controls do."""
    shares = pd.crosstab(label, batch.astype(object), normalize="index")
    return (shares.drop(study.control) - shares.loc[study.control]).abs().sum(axis=1) / 2
