"""Scores of one target's cells beside those of the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import nearest, obs_column
from pertorch.pl._calls import NOT_PERTURBED
from pertorch.pl._density import bounds, density, drawn
from pertorch.pl._figure import CONTROL, ESCAPED, INK, PERTURBED, bare, open_axes, result
from pertorch.pl._lookup import known_name

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def perturbscore(
    adata: AnnData,
    pert_key: str,
    target_gene: str,
    *,
    mixscape_class: str = "mixscape_class",
    color: str = PERTURBED,
    palette: Mapping[str, str] | None = None,
    split_by: str | None = None,
    before_mixscape: bool = False,
    perturbation_type: str = "KO",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Where a target's cells and the controls lie on the line between them: densities, and a dot for each cell.

    The position is that of ``mixscape``'s first step, in which the means of the two are 1 apart.

    Parameters
    ----------
    adata
        Annotated data after ``mixscape`` with ``store_projections``.
    pert_key
        The column of targets that ``mixscape`` was given.
    target_gene
        The target.
    mixscape_class
        Column of ``adata.obs`` with the classes.
    color
        Of the target's (perturbed) cells.
    palette
        Colours by class, instead of that and the others.
    split_by
        The ``split_by`` that ``mixscape`` was given: a panel for each split. Default: splits together.
    before_mixscape
        Whether to show the target's cells as one, rather than by class.
    perturbation_type
        As given to ``mixscape``.
    ax
        Axes for a single panel; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes, a list of them where there are several splits, or the figure.

    Raises
    ------
    KeyError
        If there are no projections, or a column does not exist.
    ValueError
        If the target was not tested, ``mixscape`` was split by another column, or names of cells repeat.
    """
    tables = _projections(adata, target_gene)
    for table in tables.values():
        if pert_key not in table:
            raise KeyError(f"uns['mixscape'] has no column {pert_key!r}: {nearest(pert_key, table.columns[1:])}")
    if split_by is not None:
        unknown = set(tables) - set(obs_column(adata, split_by).astype(str))
        if unknown:
            raise ValueError(f"split_by={split_by!r} has no {min(unknown)!r}: mixscape was not split by that column.")
        panels = tables
    else:
        panels = {"": pd.concat(tables.values())}
    by_class = None if before_mixscape else obs_column(adata, mixscape_class).astype(str)
    axes = open_axes(ax, (6.0, 1.2 + 2.2 * len(panels)), return_fig=return_fig, rows=len(panels), sharex=True)
    for panel, (split, table) in zip(axes, panels.items(), strict=True):
        groups = _by_class(table, pert_key, target_gene, by_class, perturbation_type)
        colours = {f"{target_gene} {NOT_PERTURBED}": ESCAPED, f"{target_gene} {perturbation_type}": color}
        colours |= {target_gene: color} | dict(palette or {})
        _densities(panel, groups, colours)
        if split:
            panel.set_title(f"{split_by}: {split}", fontsize=8, loc="left")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[-1].set_xlabel("perturbation score\n(means of controls and target are 1 apart)")
    return result(axes, return_fig=return_fig)


def _projections(adata: AnnData, target: str) -> Mapping[str, pd.DataFrame]:
    if "mixscape" not in adata.uns:
        raise KeyError("uns['mixscape'] not found: run mixscape with store_projections=True first.")
    known = adata.uns["mixscape"]
    known_name(target, "target_gene", known)
    tables: Mapping[str, pd.DataFrame] = known[target]
    return tables


def _by_class(
    table: pd.DataFrame, pert_key: str, target: str, by_class: pd.Series | None, perturbation_type: str
) -> dict[str, NDArray[np.float64]]:
    """Positions by what is drawn apart: control, then NP and perturbed, or the target."""
    label, position = table[pert_key].astype(str), table["pvec"].to_numpy(np.float64)
    control = next(name for name in label.unique() if name != target)  # categories name the other targets too
    found = {control: position[label == control]}
    if by_class is None:
        return found | {target: position[label == target]}
    if not by_class.index.is_unique:
        raise ValueError(
            "adata.obs_names repeat, so classes cannot be found by name: see adata.obs_names_make_unique()."
        )
    missing = table.index.difference(by_class.index)
    if len(missing):
        raise ValueError(
            f"uns['mixscape'] holds {len(missing)} cell(s) that adata lacks, as {missing[0]!r}: run again."
        )
    called = by_class.loc[table.index].to_numpy()
    for kind in (NOT_PERTURBED, perturbation_type):
        found[f"{target} {kind}"] = position[(label == target).to_numpy() & (called == f"{target} {kind}")]
    return found


DOTS = 1_000  # most dots below a density


def _densities(ax: Axes, groups: Mapping[str, NDArray[np.float64]], colours: Mapping[str, str]) -> None:
    ends = np.array([bounds(values) for values in groups.values() if len(values)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())  # few cells among many are not cut off
    rng = np.random.default_rng(0)
    curves = {name: density(values, low, high) for name, values in groups.items()}
    top = max(height.max() for _, height in curves.values())
    for k, (name, values) in enumerate(groups.items()):
        colour = colours.get(name, CONTROL)
        x, height = curves[name]
        ax.plot(x, height, color=colour, lw=1.4, label=f"{name} ({len(values):,} cells)")
        ax.fill_between(x, height, color=colour, alpha=0.25, lw=0)
        shown = drawn(values, DOTS, rng)
        ax.scatter(
            shown, -top * (0.06 + 0.09 * k + rng.uniform(0, 0.06, len(shown))), s=3, color=colour, lw=0, alpha=0.6
        )
    ax.axhline(0, color=INK, lw=0.6)
    ax.set_xlim(low, high)
    ax.set_ylim(-top * (0.06 + 0.09 * len(groups)), 1.08 * top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])
    ax.set_ylabel("density of cells")
    bare(ax, "left", "bottom")
