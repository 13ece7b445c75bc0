"""Plot of what ``Distance.pairwise`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.pl._figure import INK, bare, colour_bar, open_axes, result
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
