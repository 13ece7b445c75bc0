"""How far assignments agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from pertorch.pl._figure import colour_bar, open_axes, result
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def agreement(
    comparison: Any, *, measure: str = "jaccard", ax: Axes | None = None, return_fig: bool = False
) -> Axes | list[Axes] | Figure:
    """How far assignments agree: assignments × assignments, with the values.

    Parameters
    ----------
    comparison
        What ``pertorch.pp.compare_assignments`` returns.
    measure
        ``"jaccard"`` (of the pairs of cell and guide that either assigns) or ``"agreement"`` (of all decisions).
    ax, return_fig
        As for :func:`guide_histogram`.

    Returns
    -------
    The Axes, or the figure.

    Raises
    ------
    TypeError
        If `comparison` is something else.
    ValueError
        If the measure is unknown.
    """
    if measure not in ("jaccard", "agreement"):
        raise ValueError(f"measure={measure!r} is not one of: 'jaccard', 'agreement'.")
    table = getattr(comparison, measure, None)
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"comparison is a {type(comparison).__name__}: pass what pertorch.pp.compare_assignments returns."
        )
    names, n = list(table.index), len(table)
    side = min(1.6 + max(0.6, 0.6 * (n < 13)) * n, 12.0) + room_for(names)
    (ax,) = axes = open_axes(ax, (side + 0.8, side), return_fig=return_fig)
    image = ax.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="cividis")
    name_axis(ax, "x", names)
    name_axis(ax, "y", names)
    if n <= 15:
        for i, row in enumerate(table.to_numpy()):
            for j, value in enumerate(row):
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value < 0.6 else "k")
    titles = {"jaccard": "Jaccard index of assigned pairs", "agreement": "share of equal decisions"}
    colour_bar(image, ax, titles[measure])
    return result(axes, return_fig=return_fig)
