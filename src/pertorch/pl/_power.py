"""Plot of what ``distance_power`` and ``mixscape_power`` return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pertorch.data import nearest
from pertorch.pl._figure import COLOURS, CONTROL, INK, bare, open_axes, result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("target", "n_cells", "power", "lower", "upper")
APART = 0.05  # of the axis, between two names
NAMED = COLOURS[:7]  # the eighth, yellow, is not for letters


def power_curve(
    power: pd.DataFrame,
    *,
    targets: Sequence[Any] | None = None,
    wanted: float | None = 0.8,
    label: str = "probability of detection",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Cells per target against the probability that the target is found.

    Up to seven targets have a colour, a name and a band, Wilson's interval. More are thin lines, with the median over
    targets, and the share of them that reach `wanted`, in front.

    Parameters
    ----------
    power
        Table from :func:`pertorch.tl.distance_power` or :func:`pertorch.tl.mixscape_power`.
    targets
        Targets to show; ``None``: all.
    wanted
        Where to draw a line across; ``None`` for none.
    label
        Of the vertical axis.
    ax
        Axes to draw on; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes, or the figure.

    Raises
    ------
    ValueError
        If the table lacks a column or is empty, or a target is not in it.
    """
    missing = [column for column in COLUMNS if column not in power.columns]
    if missing or power.empty:
        raise ValueError(f"power lacks {missing or 'rows'}: pass a table from distance_power or mixscape_power.")
    names = list(dict.fromkeys(power["target"]))
    for name in targets if targets is not None else ():
        if name not in names:
            raise ValueError(f"target {name!r} is not in the table: {nearest(name, names)}")
    shown = names if targets is None else list(dict.fromkeys(targets))
    (axes,) = panels = open_axes(ax, (5.6, 3.8), return_fig=return_fig)
    curves = {name: power[power["target"] == name].sort_values("n_cells") for name in shown}
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    if wanted is not None:
        axes.axhline(wanted, color=CONTROL, linewidth=0.8, linestyle="--", zorder=0)
    if len(shown) <= len(NAMED):
        _few(axes, curves)
    else:
        _many(axes, curves, wanted)
    sizes = np.sort(power["n_cells"].unique())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("cells per target")
    axes.set_ylabel(label)
    bare(axes, "left", "bottom")
    return result(panels, return_fig=return_fig)


def _few(ax: Axes, curves: dict[Any, pd.DataFrame]) -> None:
    """Each with its colour, and its name at its right end, names pushed apart."""
    ends = []
    for colour, (name, curve) in zip(NAMED, curves.items(), strict=False):
        n_cells = curve["n_cells"].to_numpy()
        ax.fill_between(n_cells, curve["lower"], curve["upper"], color=colour, alpha=0.15, linewidth=0)
        ax.plot(n_cells, curve["power"], color=colour, marker="o", markersize=3.5, linewidth=1.6)
        ends.append((float(curve["power"].iloc[-1]), float(curve["power"].mean()), n_cells[-1], str(name), colour))
    ends.sort(reverse=True)
    heights = _apart([end[0] for end in ends])
    for height, (_, _, x, name, colour) in zip(heights, ends, strict=True):
        ax.annotate(
            name, (x, height), (7, 0), textcoords="offset points", fontsize=8, color=colour, va="center",
            annotation_clip=False,
        )  # fmt: skip


def _apart(falling: list[float]) -> list[float]:
    """Heights of names, `APART` or more from each other and within the axis, near where they belong."""
    out, above = [], 1.0 + APART
    for height in falling:
        above = min(height, above - APART)
        out.append(above)
    below = -APART
    for k in reversed(range(len(out))):
        below = out[k] = max(out[k], below + APART)
    return out


def _many(ax: Axes, curves: dict[Any, pd.DataFrame], wanted: float | None) -> None:
    """All as thin lines; their median, and how many are high enough."""
    for curve in curves.values():
        ax.plot(curve["n_cells"], curve["power"], color=CONTROL, linewidth=0.7, alpha=0.5)
    by_size = pd.concat(curves.values()).groupby("n_cells")["power"]
    ax.plot(by_size.median(), color=COLOURS[0], marker="o", markersize=4, label=f"median of {len(curves)} targets")
    if wanted is not None:
        share = by_size.apply(lambda values: float((values >= wanted).mean()))
        ax.plot(share, color=COLOURS[3], marker="s", markersize=3.5, label=f"share of targets at {wanted:g} or more")
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
