"""The first screen: what was found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertorch.cli.page import Fact
from pertorch.cli.report._distances import FEW, METRIC
from pertorch.cli.report._words import counted, listed, percent, with_values

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd

    from pertorch.cli.report._guides import GuideCalls
    from pertorch.cli.report._likeness import Likeness
    from pertorch.cli.report._options import Options
    from pertorch.cli.report._study import Study

TOP = 6
FAINT, STRONG = 0.5, 1 / 3  # share of cells perturbed; of the largest distance


def summary(study: Study, table: pd.DataFrame, likeness: Likeness | None) -> tuple[str, ...]:
    """Paragraphs: which targets have an effect, the largest, those alike, the cells that were perturbed.

    Parameters
    ----------
    study
        Labels and options.
    table
        As :func:`target_table` makes it.
    likeness
        Targets that are alike.
    """
    return tuple(
        filter(
            None,
            (
                _effects(study, table),
                _alike(table, () if likeness is None else likeness.groups, study.control),
                _perturbed(table, study.options),
            ),
        )
    )


def plain(text: str) -> str:
    """A paragraph without its marks, for a terminal."""
    return text.replace("**", "").replace("`", "")


def facts(study: Study, table: pd.DataFrame, n_genes: int, calls: GuideCalls | None) -> tuple[Fact, ...]:
    """What stands large on top."""
    found = [
        Fact(f"{table['effect'].sum():,} of {len(table):,}", "targets have an effect"),
        Fact(f"{study.adata.n_obs:,}", f"cells, and {n_genes:,} genes"),
        Fact(f"{study.n_controls:,}", f"control cells ({study.control})"),
        Fact(f"{table['cells'].median():,.0f}", "cells of a target (median)"),
    ]
    if "perturbed" in table:
        share = (table["perturbed"] * table["cells"]).sum() / table["cells"].sum()
        found.append(Fact(percent(share), "of targeted cells perturbed (Mixscape)"))
    if calls is not None:
        found.append(Fact(percent(calls.summary.overall["single"]), "of cells with one guide called"))
    return tuple(found)


def next_steps(study: Study, table: pd.DataFrame, likeness: Likeness | None) -> tuple[str, ...]:
    """What the numbers suggest to look at."""
    hits, groups = table[table["effect"]], () if likeness is None else likeness.groups
    found = [
        f"**What do {listed(group)} share?** They change cells alike: look for a pathway or complex."
        for group in groups[:2]
    ]
    if likeness is not None:
        grouped = {target for group in groups for target in group}
        far = hits[(hits[METRIC] > STRONG * hits[METRIC].max() / 2) & ~hits.index.isin(grouped)]
        if len(far):
            found.append(
                f"**{listed(far.index)}** {_verb(far, 'is', 'are')} far from the control, and unlike any other target."
            )
    if "perturbed" in table:
        faint = hits[(hits["perturbed"] > 0) & (hits["perturbed"] < FAINT)]
        if len(faint):
            found.append(
                f"**Escaped cells hide effects** of {listed(faint.index)}: compare only the cells of class "
                f"`{study.options.type}` (column `mixscape_class` of `annotated.h5ad`)."
            )
    none = table[~table["effect"] & (table["cells"] < 3 * FEW)]
    if len(none):
        found.append(
            f"**More cells** of {listed(none.index)}, before you say that {_verb(none, 'it has', 'they have')} no "
            "effect."
        )
    if hits.empty:
        found.append("**Do guides work?** See whether each target's own gene is lowered, and whether labels fit cells.")
    return tuple(found)


def _effects(study: Study, table: pd.DataFrame) -> str:
    options, hits = study.options, table[table["effect"]]
    within = f", within each `{options.split_by}`" if options.split_by else ""
    controls = counted(study.n_controls, f"{study.control} cell")
    test = f"E-test against {controls}{within}; false discovery rate {100 * options.fdr:g} %"
    n = counted(len(table), "target")
    if hits.empty:
        return f"**None of {n}** changes its cells so that chance would not explain it ({test})."
    values = [f"{value:.2g}" for value in hits[METRIC]]
    largest = f"The largest effects, by E-distance: **{with_values(list(hits.index[:TOP]), values[:TOP])}**."
    verb = "changes its" if len(hits) == 1 else "change their"
    return f"**{len(hits):,} of {n}** {verb} cells ({test}). {largest}"


def _alike(table: pd.DataFrame, groups: Sequence[tuple[Hashable, ...]], control: Hashable) -> str:
    if not groups:
        return ""
    first, *others = groups
    is_top = set(first) == set(table.index[: len(first)])
    where = f", the {len(first)} farthest from {control}," if is_top else ""
    more = f" So do {'; '.join(listed(group) for group in others[:3])}." if others else ""
    more += f" {counted(len(others) - 3, 'more group')} below." if len(others) > 3 else ""
    return (
        f"**{listed(first, 12)}**{where} change cells alike, as members of one pathway do: any two of them are nearer "
        f"to each other than half of either's distance to {control}.{more}"
    )


def _perturbed(table: pd.DataFrame, options: Options) -> str:
    if "perturbed" not in table:
        return ""
    found = table[table["perturbed"] > 0]
    if found.empty:
        return "Mixscape tells perturbed cells from escaped ones in no target."
    shares = [percent(share) for share in found["perturbed"]]
    missed = int((~found["effect"]).sum())
    more = f" In {missed:,} of them the E-test finds no effect: few genes weigh little in a distance over all."
    return (
        f"Mixscape finds perturbed cells (`{options.type}`) in {counted(len(found), 'target')}: "
        f"{with_values(list(found.index), shares, TOP)}; the other cells of these targets look like controls."
        f"{more if missed else ''}"
    )


def _verb(rows: pd.DataFrame, one: str, many: str) -> str:
    return one if len(rows) == 1 else many
