"""Plots of classes of cells: shares by guide, and values by class."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import nearest, obs_column
from pertorch.pl._calls import NOT_PERTURBED, Calls
from pertorch.pl._density import bounds, density
from pertorch.pl._figure import (
    COLOURS,
    CONTROL,
    ESCAPED,
    INK,
    PERTURBED,
    bare,
    name_axis,
    open_axes,
    result,
    room_for,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOTS = 110  # bars and gaps in a row
DOTS = 400  # most dots of one violin


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


def violin(
    adata: AnnData,
    target_gene_idents: str | Sequence[str] | None = None,
    *,
    keys: str | Sequence[str] = "mixscape_class_p_ko",
    groupby: str = "mixscape_class",
    hue: str | None = None,
    log: bool = False,
    stripplot: bool = True,
    size: float = 1.0,
    order: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Violins of values by class, with up to 400 of the cells in each as dots.

    Every violin is as wide as the others; the line is the median.

    Parameters
    ----------
    adata
        Annotated data.
    target_gene_idents
        Classes (``"STAT1 KO"``), or targets, which stand for all of their classes. ``None`` shows all.
    keys
        Columns of ``adata.obs`` with numbers: a panel each.
    groupby
        Column of ``adata.obs`` with the classes.
    hue
        Column of ``adata.obs``: violins of its values side by side.
    log
        Whether the values' axis is logarithmic; values must be above 0.
    stripplot, size
        Whether to draw dots, and how large, in points.
    order
        The classes to show, in this order, instead of that of the column.
    xlabel, ylabel
        Names of the axes; for several keys `ylabel` may be a list.
    ax, return_fig
        As for :func:`barplot`.

    Raises
    ------
    KeyError
        If a column does not exist.
    TypeError
        If a key's column does not hold numbers.
    ValueError
        If a class has no cells, or with `log` a value is not above 0.
    """
    columns = [keys] if isinstance(keys, str) else list(keys)
    values = [_numbers(adata, key, log=log) for key in columns]
    label = obs_column(adata, groupby).astype(object).to_numpy()
    classes = _classes(adata, groupby, target_gene_idents, order)
    colour_of, parts = _parts(adata, hue)
    width = min(1.4 + max(0.5, 0.35 * len(parts)) * len(classes), 16.0)
    height = 2.4 * len(columns) + 0.5 + room_for(classes)
    axes = open_axes(ax, (width, height), return_fig=return_fig, rows=len(columns), sharex=True)
    titles = columns if ylabel is None else [ylabel] if isinstance(ylabel, str) else list(ylabel)
    rng = np.random.default_rng(0)
    for panel, column, title in zip(axes, values, titles, strict=True):
        if log:
            panel.set_yscale("log")
        for i, name in enumerate(classes):
            for k, part in enumerate(parts):
                chosen = column[(label == name) & part & np.isfinite(column)]
                centre, half = i + 0.8 * ((k + 0.5) / len(parts) - 0.5), 0.38 / len(parts)
                colour = colour_of[k] if hue else _class_colour(str(name))
                _violin(panel, chosen, centre, half, colour, log=log, dots=size if stripplot else 0.0, rng=rng)
        panel.set_ylabel(title)
        panel.set_xlim(-0.6, len(classes) - 0.4)
        bare(panel, "left", "bottom")
    name_axis(axes[-1], "x", classes)
    axes[-1].set_xlabel(xlabel)
    if hue:
        handles = [axes[0].scatter([], [], color=colour_of[k], marker="s") for k in range(len(parts))]
        names = [str(name) for name in _values(adata, hue)]
        axes[0].legend(
            handles, names, title=hue, frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )
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
    figure = ax.get_figure(root=True)
    assert figure is not None
    slot = 72 * 0.8 * ax.get_position().width / 0.775 * figure.get_figwidth() / max(ax.get_xlim()[1], 1)
    flat = max(map(len, names)) * 0.62 * 7 < slot * (guides + 1)
    step = 1 if flat else max(1, math.ceil(8.5 / (slot * (guides + 1))))
    top.set_xticks(centres[::step], names[::step], fontsize=7, rotation=0 if flat else 90)
    top.tick_params(length=0)


def _violin(
    ax: Axes,
    values: NDArray[np.float64],
    centre: float,
    half: float,
    colour: str,
    *,
    log: bool,
    dots: float,
    rng: np.random.Generator,
) -> None:
    if not len(values):
        return
    scaled = np.log10(values) if log else values
    low, high = bounds(scaled)
    # A violin ends where its values do: a probability has none above 1.
    places, height = density(scaled, max(low, float(scaled.min())) - 1e-9, min(high, float(scaled.max())) + 1e-9)
    reach = half * height / (height.max() or 1)
    at = 10**places if log else places
    ax.fill_betweenx(at, centre - reach, centre + reach, color=colour, alpha=0.55, linewidth=0.6)
    if dots:
        shown = values if len(values) <= DOTS else rng.choice(values, DOTS, replace=False)
        ax.scatter(centre + rng.uniform(-half, half, len(shown)) * 0.6, shown, s=dots**2, color=INK, lw=0, alpha=0.5)
    ax.hlines(float(np.median(values)), centre - half * 0.7, centre + half * 0.7, color=INK, linewidth=1.2)


def _numbers(adata: AnnData, key: str, *, log: bool) -> NDArray[np.float64]:
    column = obs_column(adata, key)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise TypeError(f"obs column {key!r} is {column.dtype}: keys must name columns of numbers.")
    values = column.to_numpy(np.float64, na_value=np.nan)
    if log and not (values[np.isfinite(values)] > 0).all():
        raise ValueError(f"obs column {key!r} holds values that are not above 0: leave log out.")
    return values


def _values(adata: AnnData, key: str) -> list[Hashable]:
    """The labels of a column that have cells: categories in their order, else sorted."""
    column = obs_column(adata, key)
    return list(pd.Categorical(column).remove_unused_categories().categories)


def _classes(
    adata: AnnData, groupby: str, idents: str | Sequence[str] | None, order: Sequence[str] | None
) -> list[str]:
    known = _values(adata, groupby)
    asked = idents if order is None else order
    if asked is None:
        return [str(name) for name in known]
    found: list[str] = []
    for ident in [asked] if isinstance(asked, str) else asked:
        of_target = [name for name in known if str(name) == ident] or [
            name for name in known if str(name).startswith(f"{ident} ")
        ]
        if not of_target:
            raise ValueError(
                f"{ident!r} is neither a class in obs column {groupby!r} nor a target of one: {nearest(ident, known)}"
            )
        found += [str(name) for name in of_target]
    return list(dict.fromkeys(found))


def _parts(adata: AnnData, hue: str | None) -> tuple[list[str], list[NDArray[np.bool_]]]:
    if hue is None:
        return [ESCAPED], [np.ones(adata.n_obs, dtype=bool)]
    label, names = obs_column(adata, hue).astype(object).to_numpy(), _values(adata, hue)
    if len(names) > len(COLOURS):
        raise ValueError(f"hue={hue!r} has {len(names)} values, and no more than {len(COLOURS)} can be told apart.")
    return list(COLOURS[: len(names)]), [label == name for name in names]


def _class_colour(name: str) -> str:
    if " " not in name:
        return CONTROL
    return ESCAPED if name.endswith(f" {NOT_PERTURBED}") else PERTURBED
