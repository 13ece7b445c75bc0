"""Plot of what ``DistanceTest`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pertorch.pl._figure import CONTROL, INK, PERTURBED, bare, open_axes, result
from pertorch.pl._names import label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        If it is not such a table, or holds p-values outside (0, 1].
    """
    p_column, flag = ("pvalue_adj", "significant_adj") if adjusted else ("pvalue", "significant")
    check_columns(tests, ("distance", "pvalue", p_column, flag))
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


def check_columns(tests: pd.DataFrame, wanted: Sequence[str]) -> None:
    lacking = [column for column in wanted if column not in getattr(tests, "columns", ())]
    if lacking:
        raise ValueError(f"tests has no column {lacking[0]!r}: pass a table from DistanceTest.")
