"""How many guides cells have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pertorch.pl._figure import CONTROL, ESCAPED, PERTURBED, bare, open_axes, result
from pertorch.pl._guide_counts import guide_counts
from pertorch.pl._names import name_axis

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def guides_per_cell(
    adata: AnnData,
    *,
    assigned: str = "assigned_guides",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """How many cells have no guide, one, two, ….

    Parameters
    ----------
    adata
        Annotated data with an assignment, cells × guides.
    assigned
        Key in ``adata.layers``: not 0 where a cell has a guide.
    ax, return_fig
        As for :func:`guide_histogram`.

    Returns
    -------
    The Axes, or the figure.

    Raises
    ------
    KeyError
        If the layer does not exist.
    """
    matrix = guide_counts(adata, assigned)
    per_cell = np.diff(matrix.indptr)
    cells = np.bincount(per_cell, minlength=2)
    shown = min(len(cells), 16)
    bars = np.append(cells[: shown - 1], cells[shown - 1 :].sum())
    names = [*map(str, range(shown - 1)), f"{shown - 1}{'+' if len(cells) > shown else ''}"]
    (ax,) = axes = open_axes(ax, (2.6 + 0.5 * shown, 3.4), return_fig=return_fig)
    colours = [CONTROL, PERTURBED, *[ESCAPED] * (shown - 2)]
    drawn = ax.bar(range(shown), bars, color=colours[:shown], width=0.8)
    ax.bar_label(drawn, [f"{n / max(len(per_cell), 1):.1%}" for n in bars], fontsize=7, padding=1)
    ax.set_xlim(-0.6, shown - 0.4)
    name_axis(ax, "x", names)
    ax.margins(y=0.12)
    ax.set_xlabel("guides of a cell")
    ax.set_ylabel("cells")
    ax.set_title(f"{assigned}: {len(per_cell):,} cells,\n{per_cell.sum():,} guides assigned", fontsize=8, loc="left")
    bare(ax, "left", "bottom")
    return result(axes, return_fig=return_fig)
