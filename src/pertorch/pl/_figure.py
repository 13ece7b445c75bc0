"""Where a plot is drawn, and what all plots share."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Okabe and Ito (2008): told apart by colour-blind readers, and in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7A5C00", "#F0E442")
CONTROL, ESCAPED, PERTURBED, INK = "#8C8C8C", "#56B4E9", "#D55E00", "#333333"
ROW = 0.16  # inches of a named row: its letters have 8 points
TALLEST = 20.0  # inches
ROWS = 60  # of a column, before another begins beside it


def open_axes(
    ax: Axes | None, size: tuple[float, float], *, return_fig: bool, rows: int = 1, columns: int = 1, **grid: Any
) -> list[Axes]:
    """Axes to draw on, row by row.

    A figure that is to be returned belongs to the caller alone; any other is one of pyplot's, as ``plt.show()`` and
    notebooks expect. Nothing else of matplotlib's state is touched.

    Parameters
    ----------
    ax
        The caller's own, for a plot of one panel; ``None`` makes a figure.
    size
        Width and height of the figure, inches.
    return_fig
        Whether the caller wants the figure.
    rows, columns, **grid
        Of panels: see ``Figure.subplots``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `ax` is given for a plot of several panels.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install pertorch[plots]") from error
    if ax is not None:
        if rows * columns > 1:
            raise ValueError(f"ax holds one panel, and this plot has {rows * columns}: leave ax out, or ask for less.")
        return [ax]
    if return_fig:
        figure = Figure(figsize=size, layout="constrained")
        figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    else:
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=size, layout="constrained")
    return list(figure.subplots(rows, columns, squeeze=False, **grid).flat)


def _png(figure: Figure) -> bytes:
    """What a notebook shows: it knows figures only once pyplot has made one."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def figure_of(ax: Axes) -> Figure:
    """The figure that Axes are in."""
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    return figure


def result(axes: Sequence[Axes], *, return_fig: bool) -> Axes | list[Axes] | Figure:
    """What a plot returns: its Axes, a list where there are several, or the figure."""
    if return_fig:
        return figure_of(axes[0])
    return axes[0] if len(axes) == 1 else list(axes)


def columns_of(n: int) -> tuple[int, int]:
    """Columns that `n` named rows are spread over, and rows in each."""
    columns = max(1, min(6, math.ceil(n / ROWS)))
    return columns, max(1, math.ceil(n / columns))


def colour_bar(image: AxesImage | Any, ax: Axes | list[Axes], label: str) -> None:
    """A colour bar with its unit."""
    first = ax[0] if isinstance(ax, list) else ax
    figure_of(first).colorbar(image, ax=ax, shrink=0.6, aspect=18, pad=0.02).set_label(label)


def bare(ax: Axes, *sides: str) -> None:
    """Without the frame, but for these sides."""
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(side in sides)
