"""Names of rows, columns and points, where there is room for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pertorch.pl._figure import INK, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def name_axis(ax: Axes, axis: str, names: Sequence[Any], *, first: float = 0.0, size: float = 8.0) -> None:
    """Name places `first`, `first` + 1, … on an axis: smaller letters where room is scarce, then every k-th name.

    To be called when the limits of the axis are set.
    """
    texts = [str(name) for name in names]
    box, figure = ax.get_position(), figure_of(ax)
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
    from matplotlib.patheffects import withStroke

    figure = figure_of(ax)
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
