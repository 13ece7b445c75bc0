"""Densities of the scores of all targets, below one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pertorch.data import Groups, obs_column
from pertorch.pl._density import bounds, density
from pertorch.pl._figure import CONTROL, INK, PERTURBED, ROW, TALLEST, bare, columns_of, open_axes, result
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def mixscale_ridge(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    score: str = "mixscale_score",
    targets: Sequence[Any] | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Densities of the Mixscale scores of each target's cells, the strongest target on top.

    More than 60 targets are spread over several columns on one scale; on Axes of yours they share one, and names are
    thinned. All ridges are equally tall; the tick is the median.

    Parameters
    ----------
    adata
        Annotated data after ``mixscale``.
    pert_key
        Column of ``adata.obs`` with the targets.
    control
        Label of the controls, which have no score and are left out.
    score
        Column of ``adata.obs`` with the scores: standard deviations of the controls from their mean.
    targets
        Targets to show; ``None`` shows all.
    ax, return_fig
        As for :func:`perturbscore`.

    Returns
    -------
    The Axes, a list of them where there are several columns, or the figure.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If the control or a target has no cells, no target is left, or a score is NaN.
    """
    values = obs_column(adata, score).to_numpy(np.float64)
    groups = Groups.from_obs(adata, pert_key)
    groups.index(control)
    groups = groups.select([name for name in (groups.names if targets is None else targets) if name != control])
    if not groups.names:
        raise ValueError(f"no target is left beside the control {control!r}.")
    if np.isnan(values[groups.codes >= 0]).any():
        raise ValueError(f"obs column {score!r} holds NaN: run mixscale again.")
    of_group = [values[groups.codes == k] for k in range(len(groups.names))]
    ranked = np.argsort([-part.mean() for part in of_group], kind="stable")
    names = [str(groups.names[k]) for k in ranked]
    low, high = bounds(np.concatenate(of_group))
    heights = [density(of_group[k], low, high) for k in ranked]
    n_columns, n_rows = (1, len(names)) if ax is not None else columns_of(len(names))
    size = (1.0 + n_columns * (2.6 + room_for(names)), min(1.3 * ROW * n_rows + 1.5, TALLEST))
    axes = open_axes(ax, size, return_fig=return_fig, columns=n_columns, sharex=True)
    for c, panel in enumerate(axes):
        part = range(c * n_rows, min((c + 1) * n_rows, len(names)))
        panel.axvline(0, color=CONTROL, linewidth=0.8)
        for row, k in enumerate(part):
            x, height = heights[k]
            curve = row - 1.5 * height / height.max()  # into the row above
            panel.fill_between(x, row, curve, facecolor=PERTURBED, alpha=0.55, edgecolor="w", lw=0.5, zorder=2 + row)
            panel.vlines(float(np.median(of_group[ranked[k]])), row - 0.45, row, color=INK, lw=1, zorder=3 + row)
        panel.set_xlim(low, high)
        panel.set_ylim(n_rows - 0.3, -2.0)
        name_axis(panel, "y", names[part.start : part.stop])
        bare(panel, "bottom")
        panel.set_xlabel(f"{score} (sd of {control})")
    return result(axes, return_fig=return_fig)
