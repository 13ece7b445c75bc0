"""Shares of perturbed cells, guide by guide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import nearest, obs_column
from pertorch.pl._calls import NOT_PERTURBED, Calls
from pertorch.pl._figure import ESCAPED, PERTURBED, bare, figure_of, open_axes, result
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOTS = 110  # bars and gaps in a row


class _Bars(NamedTuple):
    """A target's guides: names, cells, and share of them that is perturbed."""

    target: str
    guides: list[str]
    share: NDArray[np.float64]


def barplot(
    adata: AnnData,
    guide_rna_column: str,
    *,
    mixscape_class: str = "mixscape_class",
    mixscape_class_global: str = "mixscape_class_global",
    targets: Sequence[str] | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Share of each guide's cells that ``mixscape`` calls perturbed, guides of a target side by side.

    Targets with the largest share come first. Rows hold about 110 bars, so that guides keep their names; on Axes of
    yours all stand in one row, and names are thinned.

    Parameters
    ----------
    adata
        Annotated data after ``mixscape``.
    guide_rna_column
        Column of ``adata.obs`` with the guide of each cell.
    mixscape_class, mixscape_class_global
        Columns of ``adata.obs`` that ``mixscape`` wrote. Any ``perturbation_type`` will do.
    targets
        Targets to show; ``None`` shows all.
    figsize
        Of the figure, inches; ``None`` grows with the number of guides.
    ax
        Axes to draw on; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes, a list of them where there are several rows, or the figure.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a target has no cells, or there are none at all.
    """
    shares = _shares(adata, guide_rna_column, Calls.of(adata, mixscape_class, mixscape_class_global), targets)
    rows = [shares] if ax is not None else _wrapped(shares)
    slots = max(sum(len(bars.guides) + 1 for bars in row) for row in rows)
    names = [bars.target for bars in shares]
    size = figsize or (1.8 + max(0.12 * slots, 2.0), (1.35 + 1.2 * room_for(names)) * len(rows) + 0.4)
    axes = open_axes(ax, size, return_fig=return_fig, rows=len(rows))
    for panel, row in zip(axes, rows, strict=True):
        _draw_row(panel, row, slots)
    axes[0].legend(
        *axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )
    axes[len(axes) // 2].set_ylabel("share of the guide's cells (%)", fontsize=8)
    axes[-1].set_xlabel("guides by target", fontsize=8)
    return result(axes, return_fig=return_fig)


def _shares(adata: AnnData, column: str, calls: Calls, targets: Sequence[str] | None) -> list[_Bars]:
    guide = obs_column(adata, column).astype(object).to_numpy()
    cells = pd.DataFrame({"target": calls.target, "guide": guide, "share": calls.kind != NOT_PERTURBED})
    cells = cells[~calls.is_control].dropna()
    known = list(cells["target"].unique())
    for target in targets or ():
        if target not in known:
            raise ValueError(f"targets holds {target!r}, which has no cells: {nearest(target, known)}")
    if targets is not None:
        cells = cells[cells["target"].isin(list(targets))]
    if cells.empty:
        raise ValueError(f"no cell has both a target and a guide in obs column {column!r}.")
    ranked = cells.groupby("target")["share"].mean().sort_values(ascending=False, kind="stable").index
    tables = {target: table.groupby("guide")["share"].mean() for target, table in cells.groupby("target")}
    return [_Bars(str(t), [str(g) for g in tables[t].index], tables[t].to_numpy(np.float64)) for t in ranked]


def _wrapped(shares: list[_Bars]) -> list[list[_Bars]]:
    rows: list[list[_Bars]] = [[]]
    used = 0
    for bars in shares:
        if rows[-1] and used + len(bars.guides) + 1 > SLOTS:
            rows.append([])
            used = 0
        rows[-1].append(bars)
        used += len(bars.guides) + 1
    return rows


def _draw_row(ax: Axes, row: list[_Bars], slots: int) -> None:
    starts = np.cumsum([0, *(len(bars.guides) + 1 for bars in row)])
    x = np.concatenate([start + np.arange(len(bars.guides)) for start, bars in zip(starts, row, strict=False)])
    share = 100 * np.concatenate([bars.share for bars in row])
    ax.bar(x, share, 0.9, color=PERTURBED, label="perturbed")
    ax.bar(x, 100 - share, 0.9, bottom=share, color=ESCAPED, label=f"not perturbed ({NOT_PERTURBED})", alpha=0.6)
    ax.set_xlim(-0.8, slots - 1.2 if slots > 2 else 1)
    ax.set_ylim(0, 100)
    ax.set_yticks([0, 50, 100])
    ax.tick_params(axis="y", labelsize=7)
    labels = [""] * int(starts[-1])
    for place, name in zip(x, [short for bars in row for short in _short(bars)], strict=True):
        labels[int(place)] = name
    name_axis(ax, "x", labels, size=6.5)
    centres = [start + (len(bars.guides) - 1) / 2 for start, bars in zip(starts, row, strict=False)]
    _name_groups(ax, centres, [bars.target for bars in row], max(len(bars.guides) for bars in row))
    bare(ax, "left")


def _short(bars: _Bars) -> list[str]:
    """Guides without their target's name, where all begin with it."""
    if all(guide.startswith(bars.target) and guide != bars.target for guide in bars.guides):
        return [guide.removeprefix(bars.target).lstrip("_-. ") or guide for guide in bars.guides]
    return bars.guides


def _name_groups(ax: Axes, centres: list[float], names: list[str], guides: int) -> None:
    """Targets above their bars: level, or upright where they are too long, and thinned where even that is too close."""
    top = ax.secondary_xaxis("top")
    top.spines["top"].set_visible(False)
    slot = 72 * 0.8 * ax.get_position().width / 0.775 * figure_of(ax).get_figwidth() / max(ax.get_xlim()[1], 1)
    flat = max(map(len, names)) * 0.62 * 7 < slot * (guides + 1)
    step = 1 if flat else max(1, math.ceil(8.5 / (slot * (guides + 1))))
    top.set_xticks(centres[::step], names[::step], fontsize=7, rotation=0 if flat else 90)
    top.tick_params(length=0)
