"""Plot of what ``Distance.onesided_distances`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pertorch.pl._figure import CONTROL, INK, PERTURBED, ROW, TALLEST, bare, columns_of, open_axes, result
from pertorch.pl._names import name_axis, room_for
from pertorch.pl._volcano import check_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


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
    ax
        Axes to draw on; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

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
    check_columns(tests, ("pvalue_adj",))
    found = _same_groups(tests["pvalue_adj"], index, "tests")
    return [next((star for bound, star in STARS if p < bound), "") for p in found]
