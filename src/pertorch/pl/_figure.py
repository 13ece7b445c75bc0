"""Where a plot is drawn, and how much of it can be named."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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


def result(axes: Sequence[Axes], *, return_fig: bool) -> Axes | list[Axes] | Figure:
    """What a plot returns: its Axes, a list where there are several, or the figure."""
    if return_fig:
        figure: Figure = axes[0].get_figure(root=True)  # type: ignore[assignment]
        return figure
    return axes[0] if len(axes) == 1 else list(axes)


def columns_of(n: int) -> tuple[int, int]:
    """Columns that `n` named rows are spread over, and rows in each."""
    columns = max(1, min(6, math.ceil(n / ROWS)))
    return columns, max(1, math.ceil(n / columns))


def name_axis(ax: Axes, axis: str, names: Sequence[Any], *, first: float = 0.0, size: float = 8.0) -> None:
    """Name places `first`, `first` + 1, … on an axis: smaller letters where room is scarce, then every k-th name.

    To be called when the limits of the axis are set.
    """
    texts = [str(name) for name in names]
    box = ax.get_position()
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    low, high = ax.get_xlim() if axis == "x" else ax.get_ylim()
    inches = (box.width * figure.get_figwidth()) if axis == "x" else (box.height * figure.get_figheight())
    room = 72 * inches / max(abs(high - low), 1e-9)  # points of a place
    size = max(5.0, min(size, room / 1.15))
    step = max(1, math.ceil(1.15 * size / room))
    places = list(range(0, len(texts), step))
    flat = axis == "y" or max(map(len, texts), default=0) * 0.65 * size < room
    set_ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks([first + place for place in places], [texts[place] for place in places], fontsize=size)
    ax.tick_params(axis=axis, length=0 if step == 1 else 2, rotation=0 if flat else 90)  # type: ignore[arg-type]


def room_for(names: Sequence[Any], size: float = 8.0) -> float:
    """Inches that the longest name takes."""
    return 0.62 * size / 72 * max((len(str(name)) for name in names), default=0)


def label_points(
    ax: Axes, points: NDArray[np.float64], named: Sequence[int], names: Sequence[str], size: float = 7.5
) -> None:
    """Name some points, the first ones first, where a name covers neither a point nor another name.

    A name without room is left out. To be called last: places are found in the figure as it is then.

    Parameters
    ----------
    ax
        Axes that show them.
    points
        All points, shape ``(n, 2)``, in units of the data.
    named, names
        Which of them to name, and their names.
    size
        Of letters, points.
    """
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    scale = figure.dpi / 72
    inside = ax.get_window_extent()
    pixels = ax.transData.transform(points) if len(points) else np.zeros((0, 2))
    height = 1.25 * size
    taken = np.concatenate([pixels - 2 * scale, pixels + 2 * scale], 1)  # left, low, right, high: a box each
    for k, name in zip(named, names, strict=True):
        width = 0.62 * size * len(name)
        beside = [(6.0, 0.0), (-6.0 - width, 0.0)]
        for dx, dy in [*beside, *((-width / 2, d * height) for d in (1, -1, 2, -2)), (6.0, height), (6.0, -height)]:
            low, high = np.array([dx, dy - height / 2]), np.array([dx + width, dy + height / 2])
            low, high = pixels[k] + scale * low, pixels[k] + scale * high
            covered = (low < taken[:, 2:]).all(1) & (taken[:, :2] < high).all(1)
            if covered.any() or (low < inside.min).any() or (high > inside.max).any():
                continue
            taken = np.vstack([taken, [*low, *high]])
            ax.annotate(
                name, tuple(points[k]), (dx, dy), textcoords="offset points", fontsize=size, va="center", color=INK,
                in_layout=False, path_effects=[withStroke(linewidth=1.5, foreground="w")],
            )  # fmt: skip
            break


def colour_bar(image: AxesImage | Any, ax: Axes | list[Axes], label: str) -> None:
    """A colour bar with its unit."""
    first = ax[0] if isinstance(ax, list) else ax
    figure: Figure = first.get_figure(root=True)  # type: ignore[assignment]
    figure.colorbar(image, ax=ax, shrink=0.6, aspect=18, pad=0.02).set_label(label)


def bare(ax: Axes, *sides: str) -> None:
    """Without the frame, but for these sides."""
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(side in sides)
