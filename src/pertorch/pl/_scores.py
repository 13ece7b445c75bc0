"""Densities of scores: of one target's cells beside the controls, and of all targets below one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import Groups, nearest, obs_column
from pertorch.pl._calls import NOT_PERTURBED, known_name
from pertorch.pl._density import bounds, density
from pertorch.pl._figure import (
    CONTROL,
    ESCAPED,
    INK,
    PERTURBED,
    ROW,
    TALLEST,
    bare,
    columns_of,
    name_axis,
    open_axes,
    result,
    room_for,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS = 1_000  # most dots below a density


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


def mixscale_ridge(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    score: str = "mixscale_score",
    targets: Sequence[Any] | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Densities of the Mixscale scores of each target's cells, the strongest target on top.

    More than 60 targets are spread over several columns on one scale; on Axes of yours they share one, and names are
    thinned. All ridges are equally tall; the tick is the median.

    Parameters
    ----------
    adata
        Annotated data after ``mixscale``.
    pert_key
        Column of ``adata.obs`` with the targets.
    control
        Label of the controls, which have no score and are left out.
    score
        Column of ``adata.obs`` with the scores: standard deviations of the controls from their mean.
    targets
        Targets to show; ``None`` shows all.
    ax, return_fig
        As for :func:`perturbscore`.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If the control or a target has no cells, no target is left, or a score is NaN.
    """
    values = obs_column(adata, score).to_numpy(np.float64)
    groups = Groups.from_obs(adata, pert_key)
    groups.index(control)
    groups = groups.select([name for name in (groups.names if targets is None else targets) if name != control])
    if not groups.names:
        raise ValueError(f"no target is left beside the control {control!r}.")
    if np.isnan(values[groups.codes >= 0]).any():
        raise ValueError(f"obs column {score!r} holds NaN: run mixscale again.")
    of_group = [values[groups.codes == k] for k in range(len(groups.names))]
    ranked = np.argsort([-part.mean() for part in of_group], kind="stable")
    names = [str(groups.names[k]) for k in ranked]
    low, high = bounds(np.concatenate(of_group))
    heights = [density(of_group[k], low, high) for k in ranked]
    n_columns, n_rows = (1, len(names)) if ax is not None else columns_of(len(names))
    size = (1.0 + n_columns * (2.6 + room_for(names)), min(1.3 * ROW * n_rows + 1.5, TALLEST))
    axes = open_axes(ax, size, return_fig=return_fig, columns=n_columns, sharex=True)
    for c, panel in enumerate(axes):
        part = range(c * n_rows, min((c + 1) * n_rows, len(names)))
        panel.axvline(0, color=CONTROL, linewidth=0.8)
        for row, k in enumerate(part):
            x, height = heights[k]
            curve = row - 1.5 * height / height.max()  # into the row above
            panel.fill_between(x, row, curve, facecolor=PERTURBED, alpha=0.55, edgecolor="w", lw=0.5, zorder=2 + row)
            panel.vlines(float(np.median(of_group[ranked[k]])), row - 0.45, row, color=INK, lw=1, zorder=3 + row)
        panel.set_xlim(low, high)
        panel.set_ylim(n_rows - 0.3, -2.0)
        name_axis(panel, "y", names[part.start : part.stop])
        bare(panel, "bottom")
        panel.set_xlabel(f"{score} (sd of {control})")
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
        shown = values if len(values) <= DOTS else rng.choice(values, DOTS, replace=False)
        ax.scatter(
            shown, -top * (0.06 + 0.09 * k + rng.uniform(0, 0.06, len(shown))), s=3, color=colour, lw=0, alpha=0.6
        )
    ax.axhline(0, color=INK, lw=0.6)
    ax.set_xlim(low, high)
    ax.set_ylim(-top * (0.06 + 0.09 * len(groups)), 1.08 * top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])
    ax.set_ylabel("density of cells")
    bare(ax, "left", "bottom")
