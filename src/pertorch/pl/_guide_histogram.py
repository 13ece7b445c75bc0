"""Counts of guides beside the mixture fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.pl._figure import ESCAPED, INK, PERTURBED, bare, open_axes, result
from pertorch.pl._guide_counts import guide_counts
from pertorch.pl._lookup import var_positions

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIT = ("poisson_rate", "gaussian_mean", "gaussian_std", "mix_probs_0", "mix_probs_1")


def guide_histogram(
    adata: AnnData,
    guides: str | Sequence[str],
    *,
    layer: str | None = None,
    threshold: float | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Counts of a guide in the cells that hold it, with the mixture fitted to them and its threshold.

    Both are densities over log₂ count, the scale of the mixture. The fit is that of
    ``GuideAssignment.assign_mixture_model``, read from ``adata.var``; without it, or for a guide that was not fitted,
    the histogram stands alone.

    Parameters
    ----------
    adata
        Annotated data with raw guide counts.
    guides
        A name in ``adata.var_names``, or several: a panel each.
    layer
        Key in ``adata.layers``. Default: ``adata.X``.
    threshold
        Smallest count that is assigned, instead of ``adata.var["threshold"]``.
    ax
        Axes for a single guide; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes, a list of them where there are several guides, or the figure.

    Raises
    ------
    KeyError
        If the layer or a guide does not exist.
    ValueError
        If no guide is named, or a count is negative.
    """
    names = [guides] if isinstance(guides, str) else list(dict.fromkeys(guides))
    if not names:
        raise ValueError("guides is empty: name one of adata.var_names, or several.")
    positions = var_positions(adata, names, "guide")
    counts = sp.csc_array(guide_counts(adata, layer))
    columns = min(4, math.ceil(math.sqrt(len(names))))
    rows = math.ceil(len(names) / columns)
    axes = open_axes(
        ax, (1.2 + 3.0 * columns, 0.6 + 2.1 * rows), return_fig=return_fig, rows=rows, columns=columns
    )  # fmt: skip
    for panel, name, at in zip(axes, names, positions.tolist(), strict=False):
        held = counts.data[counts.indptr[at] : counts.indptr[at + 1]].astype(np.float64)
        _histogram(panel, held[held > 0], adata.var.iloc[at], threshold)
        panel.set_title(f"{name}: {(held > 0).sum():,} cells hold it", fontsize=8)
    for panel in axes[len(names) :]:
        panel.set_visible(False)
    for k, panel in enumerate(axes[: len(names)]):
        if k % columns == 0:
            panel.set_ylabel("density of cells per log₂ count", fontsize=8)
        if k + columns >= len(names):
            panel.set_xlabel("counts in a cell (UMI)", fontsize=8)
    return result(axes[: len(names)], return_fig=return_fig)


def _histogram(ax: Axes, held: NDArray[np.float64], fit: pd.Series, threshold: float | None) -> None:
    most = float(held.max(initial=1))
    # Every small count has a bin of its own; from where counts lie closer than a quarter octave, they share bins.
    first = np.unique(np.rint(np.exp2(np.arange(0, np.log2(most) + 0.75, 0.25))))  # the last is above `most`
    edges = _lower_edge(first)
    cells, _ = np.histogram(held, np.exp2(edges))
    at, widths = edges[:-1], np.diff(edges)
    ax.bar(at, cells / (max(len(held), 1) * widths), widths, align="edge", color="#D0D0D0", edgecolor="w", lw=0.4)
    if set(FIT) <= set(fit.index) and np.isfinite(fit[list(FIT)].to_numpy(np.float64)).all():
        y = np.linspace(0, at[-1] + widths[-1], 400)
        background, signal = _components(y, fit)
        ax.plot(y, background, color=ESCAPED, label="background")
        ax.plot(y, signal, color=PERTURBED, label="signal")
        ax.plot(y, background + signal, color=INK, lw=0.8, ls=":", label="both")
    threshold = fit.get("threshold", np.nan) if threshold is None else threshold
    if np.isfinite(threshold):
        ax.axvline(_lower_edge(threshold), color=INK, lw=0.9, ls="--", label=f"threshold: {threshold:g}")
    powers = np.arange(0, np.ceil(np.log2(most)) + 1, max(1, np.ceil(np.log2(most) / 7)))
    ax.set_xticks(powers, [f"{2**p:g}" for p in powers.astype(int).tolist()], fontsize=7)
    ax.tick_params(axis="y", labelsize=7)
    bare(ax, "left", "bottom")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=6.5, handlelength=1.2)


def _lower_edge(count: Any) -> Any:
    """Halfway from a count to the one before, in log₂."""
    return 0.5 * np.log2(count * np.maximum(count - 1, 0.5))


def _components(y: NDArray[np.float64], fit: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Densities of background and signal at log₂ counts, times their weights: the model of ``docs/guides.md``."""
    from scipy.special import gammaln
    from scipy.stats import norm

    rate, mean, std, w0, w1 = (float(fit[name]) for name in FIT)
    return w0 * np.exp(y * np.log(rate) - rate - gammaln(y + 1)), w1 * norm.pdf(y, mean, std)
