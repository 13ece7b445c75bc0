"""Plots of what ``Distance`` and ``DistanceTest`` return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.pl._figure import (
    CONTROL,
    INK,
    PERTURBED,
    ROW,
    TALLEST,
    bare,
    colour_bar,
    columns_of,
    label_points,
    name_axis,
    open_axes,
    result,
    room_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def distance_heatmap(
    distances: pd.DataFrame,
    *,
    cluster: bool = True,
    method: str = "average",
    label: str | None = None,
    cmap: str = "viridis",
    vmax: float | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Heat map of a table from ``Distance.pairwise``, groups in the order of their clustering, with its tree above.

    Parameters
    ----------
    distances
        Square table with the same groups, in the same order, in rows and columns.
    cluster
        Whether to cluster. The tree joins groups at the mean of both triangles; negative estimates count as 0.
    method
        Of ``scipy.cluster.hierarchy.linkage``.
    label
        Of the colour bar. ``None``: the table's ``.name``, else ``"distance"``.
    cmap, vmax
        Colour map, and the distance at which it ends.
    ax
        Axes for the heat map alone; ``None`` makes a figure, of the tree and the heat map.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes of the heat map, or the figure.

    Raises
    ------
    ValueError
        If the table is not square, not of the same groups both ways, or holds NaN or infinity.
    """
    values = _square(distances)
    n = len(distances)
    if cluster and n > 2:
        from scipy.cluster.hierarchy import dendrogram, linkage
        from scipy.spatial.distance import squareform

        apart = np.maximum((values + values.T) / 2, 0)
        tree = linkage(squareform(apart - np.diag(np.diag(apart)), checks=False), method, optimal_ordering=True)
        drawn = dendrogram(tree, no_plot=True)
        order = drawn["leaves"]
    else:
        drawn, order = None, list(range(n))
    names = [str(distances.index[i]) for i in order]
    side = min(max(0.2 * n, 3.0), 12.0) + room_for(names)
    with_tree = drawn is not None and ax is None
    axes = open_axes(
        ax, (side + 1.2, side + 0.9 * with_tree), return_fig=return_fig, rows=1 + with_tree,
        height_ratios=[0.9, side] if with_tree else None, sharex=with_tree,
    )  # fmt: skip
    main = axes[-1]
    image = main.imshow(
        values[np.ix_(order, order)], cmap=cmap, vmin=min(0.0, values.min()), vmax=vmax, aspect="auto", rasterized=True
    )
    name_axis(main, "x", names)
    name_axis(main, "y", names)
    axis_name = distances.columns.name or "group"
    main.set_xlabel(str(axis_name))
    main.set_ylabel(str(distances.index.name or axis_name))
    if with_tree:
        _tree(axes[0], drawn)
    colour_bar(image, axes, label or str(getattr(distances, "name", None) or "distance"))
    return result([main], return_fig=return_fig)


def onesided_distances(
    distances: pd.Series | tuple[pd.Series, ...],
    *,
    interval: tuple[pd.Series, pd.Series] | None = None,
    tests: pd.DataFrame | None = None,
    label: str = "distance",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Distances to one reference, the largest first, with bootstrap intervals and stars of a test.

    More than 60 targets are spread over several columns on one scale, so that each keeps its name. On Axes of yours
    they share one column, and names are thinned.

    Parameters
    ----------
    distances
        What ``Distance.onesided_distances`` returns for one reference: distances, or with ``bootstrap=True`` a tuple:
        mean, variance and, with ``confidence_level``, the ends of intervals. Without them, bars are ± one standard
        deviation of the replicates. The reference itself is left out.
    interval
        Lower and upper ends, instead of those.
    tests
        A table from ``DistanceTest``: ``*`` below 0.05, ``**`` below 0.01, ``***`` below 0.001 of ``pvalue_adj``.
    label
        Name and unit of the distance.
    ax, return_fig
        As for :func:`distance_heatmap`.

    Returns
    -------
    The Axes, a list of them where there are several columns, or the figure.

    Raises
    ------
    TypeError
        If `distances` is neither a Series nor a tuple of them.
    ValueError
        If groups differ between the arguments, no group is left beside the reference, or `tests` is not such a table.
    """
    values, ends, bars = _with_interval(distances, interval)
    values = values[[name != values.name for name in values.index]].sort_values(ascending=False, kind="stable")
    if values.empty:
        raise ValueError(f"distances holds no group beside the reference {values.name!r}.")
    stars = _stars(tests, values.index)
    low, high = (values if e is None else _same_groups(e, values.index, "interval") for e in ends)
    n_columns, n_rows = (1, len(values)) if ax is not None else columns_of(len(values))
    width = min(n_columns * (2.4 + room_for(values.index)) + 1.6 * (n_columns == 1), 24.0)
    axes = open_axes(
        ax, (width, min(ROW * n_rows + 1.5, TALLEST)), return_fig=return_fig, columns=n_columns, sharex=True
    )
    for k, panel in enumerate(axes):
        part = slice(k * n_rows, (k + 1) * n_rows)
        y = np.arange(len(values[part]))
        panel.axvline(0, color=CONTROL, linewidth=0.8, zorder=0)
        panel.hlines(y, low[part], high[part], color=CONTROL, linewidth=1.6)
        starred = np.array([bool(s) for s in stars[part]], dtype=bool)
        panel.scatter(values[part], y, s=14, zorder=3, color=np.where(starred, PERTURBED, INK).tolist())
        for place, end, star in zip(y, np.maximum(high[part], values[part]), stars[part], strict=True):
            if star:
                panel.annotate(star, (end, place), (3, -2), textcoords="offset points", fontsize=8, va="center")
        panel.set_ylim(n_rows - 0.4, -0.6)
        name_axis(panel, "y", values.index[part])
        panel.margins(x=0.12)
        panel.grid(axis="x", linewidth=0.4, alpha=0.5)
        bare(panel, "bottom")
        panel.set_xlabel(label if values.name is None else f"{label} to {values.name}")
    note = [
        text for text in (bars, "adjusted p: * < 0.05, ** < 0.01, *** < 0.001" if tests is not None else "") if text
    ]
    axes[0].set_title("\n".join(note), fontsize=8, loc="left")
    return result(axes, return_fig=return_fig)


def volcano(
    tests: pd.DataFrame,
    *,
    adjusted: bool = True,
    threshold: float | None = None,
    label: str = "distance",
    n_labels: int = 20,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Distance against significance, for a table from ``DistanceTest``.

    Parameters
    ----------
    tests
        One row per group. Groups that were not tested (distance 0, p 1: the reference) are left out.
    adjusted
        Whether to show ``pvalue_adj`` and ``significant_adj``, rather than ``pvalue`` and ``significant``.
    threshold
        Where to draw a line, if anywhere; what is coloured is what the table calls significant.
    label
        Name and unit of the distance.
    n_labels
        Most names, those of the significant groups that are farthest; names that would cover others are left out.
    ax, return_fig
        As for :func:`distance_heatmap`.

    Raises
    ------
    ValueError
        If it is not such a table, or holds p-values outside (0, 1].
    """
    p_column, flag = ("pvalue_adj", "significant_adj") if adjusted else ("pvalue", "significant")
    _columns(tests, ("distance", "pvalue", p_column, flag))
    tested = tests[~((tests["distance"] == 0) & (tests["pvalue"] == 1))].sort_values("distance", ascending=False)
    p = tested[p_column].to_numpy(np.float64)
    if not ((p > 0) & (p <= 1)).all():
        raise ValueError(f"column {p_column!r} holds values outside (0, 1]: pass a table from DistanceTest.")
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold!r} must lie between 0 and 1.")
    x, y, hit = tested["distance"].to_numpy(np.float64), -np.log10(p) + 0.0, tested[flag].to_numpy(bool)
    (ax,) = axes = open_axes(ax, (5.5, 4.5), return_fig=return_fig)
    for chosen, colour, name in ((~hit, CONTROL, "not significant"), (hit, PERTURBED, "significant")):
        ax.scatter(x[chosen], y[chosen], s=18, color=colour, alpha=0.8, linewidth=0, label=f"{name} ({chosen.sum():,})")
    top = max(float(y.max(initial=0)), 0.0 if threshold is None else -np.log10(threshold))
    ax.set_ylim(-0.04 * top, 1.35 * top or 1)  # the farthest share the smallest p there can be: their names stand above
    ax.margins(x=0.1)
    if threshold is not None:
        ax.axhline(-np.log10(threshold), color=INK, linewidth=0.8, linestyle="--")
        ax.annotate(
            f"p = {threshold:g}", (0, -np.log10(threshold)), (2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=7,
        )  # fmt: skip
    ax.set_xlabel(label)
    ax.set_ylabel(f"−log₁₀ {'adjusted ' if adjusted else ''}p")
    bare(ax, "left", "bottom")
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    named = np.flatnonzero(hit)[:n_labels]
    label_points(ax, np.stack([x, y], 1), named.tolist(), [str(tested.index[k]) for k in named])
    return result(axes, return_fig=return_fig)


def _square(table: pd.DataFrame) -> NDArray[np.float64]:
    if not isinstance(table, pd.DataFrame) or table.shape[0] != table.shape[1] or not len(table):
        shape = getattr(table, "shape", type(table).__name__)
        raise ValueError(f"distances is not a square table ({shape}): pass what Distance.pairwise returns.")
    if list(table.index) != list(table.columns):
        raise ValueError("distances names other groups in its rows than in its columns, or in another order.")
    values = table.to_numpy(np.float64)
    if not np.isfinite(values).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"distances holds {values[i, j]} at {table.index[i]!r}, {table.columns[j]!r}.")
    return values


def _tree(ax: Axes, drawn: dict[str, Any]) -> None:
    from matplotlib.collections import LineCollection

    x = np.array(drawn["icoord"]) / 10 - 0.5  # scipy puts leaves at 5, 15, 25, …
    y = np.array(drawn["dcoord"])
    ax.add_collection(LineCollection(list(np.stack([x, y], -1)), colors=INK, linewidths=0.8))
    ax.set_ylim(0, y.max() * 1.05 or 1)
    ax.tick_params(labelbottom=False, bottom=False)
    ax.yaxis.set_visible(False)
    bare(ax)


def _with_interval(
    distances: Any, interval: tuple[pd.Series, pd.Series] | None
) -> tuple[pd.Series, tuple[pd.Series | None, pd.Series | None], str]:
    """Values, ends of the bars, and what the bars are."""
    parts = distances if isinstance(distances, tuple) else (distances,)
    if not all(isinstance(part, pd.Series) for part in parts) or len(parts) not in (1, 2, 4):
        raise TypeError(
            f"distances is a {type(distances).__name__} of "
            f"{', '.join(type(p).__name__ for p in parts[:4])}: pass the Series, or the tuple of 2 or 4 of them, that "
            "Distance.onesided_distances returns for one reference."
        )
    values = parts[0]
    if interval is not None:
        return values, (interval[0], interval[1]), "bars: interval"
    if len(parts) == 4:
        return values, (parts[2], parts[3]), "dots: bootstrap mean, bars: its interval"
    if len(parts) == 2:
        sd = np.sqrt(_same_groups(parts[1], values.index, "variance"))
        return values, (values - sd, values + sd), "dots: bootstrap mean, bars: ± sd"
    return values, (None, None), ""


def _same_groups(part: pd.Series, index: pd.Index, name: str) -> pd.Series:
    missing = [group for group in index if group not in part.index]
    if missing:
        raise ValueError(f"{name} lacks group {missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''}.")
    return part.loc[list(index)]


def _stars(tests: pd.DataFrame | None, index: pd.Index) -> list[str]:
    if tests is None:
        return [""] * len(index)
    _columns(tests, ("pvalue_adj",))
    found = _same_groups(tests["pvalue_adj"], index, "tests")
    return [next((star for bound, star in STARS if p < bound), "") for p in found]


def _columns(tests: pd.DataFrame, wanted: Sequence[str]) -> None:
    lacking = [column for column in wanted if column not in getattr(tests, "columns", ())]
    if lacking:
        raise ValueError(f"tests has no column {lacking[0]!r}: pass a table from DistanceTest.")
