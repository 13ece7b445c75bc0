"""Plots of guide counts and of assignments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data import nearest, obs_column, open_matrix
from pertorch.pl._figure import (
    CONTROL,
    ESCAPED,
    INK,
    PERTURBED,
    bare,
    colour_bar,
    name_axis,
    open_axes,
    result,
    room_for,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIT = ("poisson_rate", "gaussian_mean", "gaussian_std", "mix_probs_0", "mix_probs_1")
BLOCKS = 2_000  # most rows of a heat map of cells: more than a figure has pixels


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
    for name in names:
        if name not in adata.var_names:
            raise KeyError(f"guide {name!r} not found in adata.var_names: {nearest(name, adata.var_names)}")
    counts = sp.csc_array(_counts(adata, layer))
    columns = min(4, math.ceil(math.sqrt(len(names))))
    rows = math.ceil(len(names) / columns)
    axes = open_axes(
        ax, (1.2 + 3.0 * columns, 0.6 + 2.1 * rows), return_fig=return_fig, rows=rows, columns=columns
    )  # fmt: skip
    for panel, name in zip(axes, names, strict=False):
        at = int(adata.var_names.get_indexer_for([name])[0])
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

    Raises
    ------
    KeyError
        If the layer does not exist.
    """
    matrix = _counts(adata, assigned)
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


def guide_heatmap(
    adata: AnnData,
    *,
    layer: str | None = None,
    order_by: NDArray[Any] | str | None = None,
    key_to_save_order: str | None = None,
    cmap: str = "viridis",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Guide counts, cells × guides, cells in the order of the guide they have most of.

    Of more than 2,000 cells, neighbours in that order share a row: their mean.

    Parameters
    ----------
    adata
        Annotated data with guide counts.
    layer
        Key in ``adata.layers``. Default: ``adata.X``.
    order_by
        A column of ``adata.obs`` to sort cells by, or the cells in the order wanted (positions, each once). Default: by
        the guide with the largest count, cells with most of it first; cells without any guide last.
    key_to_save_order
        Column of ``adata.obs`` to write each cell's place to, so that ``order_by`` of it gives the same order. Nothing
        else is written.
    cmap
        Colour map.
    ax, return_fig
        As for :func:`guide_histogram`.

    Raises
    ------
    KeyError
        If the layer or column does not exist.
    ValueError
        If `order_by` does not name each cell once, or a count is negative.
    """
    counts = _counts(adata, layer)
    order = _cell_order(adata, counts, order_by)
    n_cells, n_guides = counts.shape
    shown = _means(counts[order], min(n_cells, BLOCKS))
    names = list(adata.var_names)
    size = (min(max(0.14 * n_guides, 3.5), 14.0) + 1.6, min(3.0 + n_cells / 800, 9.0) + room_for(names))
    (ax,) = axes = open_axes(ax, size, return_fig=return_fig)
    image = ax.imshow(
        np.log2(shown + 1), aspect="auto", cmap=cmap, interpolation="nearest", extent=(-0.5, n_guides - 0.5, n_cells, 0)
    )
    name_axis(ax, "x", names)
    ax.set_xlabel("guide")
    ax.set_ylabel("cells, by their largest guide" if order_by is None else "cells")
    colour_bar(image, ax, "log₂(counts + 1)")
    if key_to_save_order is not None:
        adata.obs[key_to_save_order] = np.argsort(order)
    return result(axes, return_fig=return_fig)


def _counts(adata: AnnData, layer: str | None) -> sp.csr_array:
    matrix = open_matrix(adata, layer or "X").counts()
    if matrix.nnz and not matrix.data.min() >= 0:
        raise ValueError(f"{layer or 'X'} holds {matrix.data.min()}: counts are not negative.")
    return matrix


def _histogram(ax: Axes, held: NDArray[np.float64], fit: pd.Series, threshold: float | None) -> None:
    most = float(held.max(initial=1))
    # Every small count has a bin of its own; from where counts lie closer than a quarter octave, they share bins.
    first = np.unique(np.rint(np.exp2(np.arange(0, np.log2(most) + 0.75, 0.25))))  # the last is above `most`
    edges = np.sqrt(first * np.maximum(first - 1, 0.5))  # halfway to the count before, in log₂
    cells, _ = np.histogram(held, edges)
    at, widths = np.log2(edges[:-1]), np.diff(np.log2(edges))
    ax.bar(at, cells / (max(len(held), 1) * widths), widths, align="edge", color="#D0D0D0", edgecolor="w", lw=0.4)
    if set(FIT) <= set(fit.index) and np.isfinite(fit[list(FIT)].to_numpy(np.float64)).all():
        y = np.linspace(0, at[-1] + widths[-1], 400)
        background, signal = _components(y, fit)
        ax.plot(y, background, color=ESCAPED, label="background")
        ax.plot(y, signal, color=PERTURBED, label="signal")
        ax.plot(y, background + signal, color=INK, lw=0.8, ls=":", label="both")
    threshold = fit.get("threshold", np.nan) if threshold is None else threshold
    if np.isfinite(threshold):
        ax.axvline(
            0.5 * np.log2(threshold * max(threshold - 1, 0.5)),
            color=INK,
            lw=0.9,
            ls="--",
            label=f"threshold: {threshold:g}",
        )
    powers = np.arange(0, np.ceil(np.log2(most)) + 1, max(1, np.ceil(np.log2(most) / 7)))
    ax.set_xticks(powers, [f"{2**p:g}" for p in powers.astype(int).tolist()], fontsize=7)
    ax.tick_params(axis="y", labelsize=7)
    bare(ax, "left", "bottom")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=6.5, handlelength=1.2)


def _components(y: NDArray[np.float64], fit: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Densities of background and signal at log₂ counts, times their weights: the model of ``docs/guides.md``."""
    from scipy.special import gammaln
    from scipy.stats import norm

    rate, mean, std, w0, w1 = (float(fit[name]) for name in FIT)
    return w0 * np.exp(y * np.log(rate) - rate - gammaln(y + 1)), w1 * norm.pdf(y, mean, std)


def _cell_order(adata: AnnData, counts: sp.csr_array, order_by: Any) -> NDArray[np.int64]:
    if order_by is None:
        held = np.flatnonzero(np.diff(counts.indptr))
        largest, guide = np.full(counts.shape[0], -1.0), np.full(counts.shape[0], counts.shape[1])
        largest[held] = counts[held].max(axis=1).toarray().ravel()
        guide[held] = counts[held].argmax(axis=1)
        return np.lexsort([-largest, guide])
    if isinstance(order_by, str):
        column = obs_column(adata, order_by)
        return np.argsort(pd.Categorical(column, ordered=False).codes, kind="stable")
    order = np.asarray(order_by)
    if order.shape != (adata.n_obs,) or not np.array_equal(np.sort(order), np.arange(adata.n_obs)):
        raise ValueError(f"order_by must hold the positions of all {adata.n_obs} cells, each once, or name a column.")
    return order.astype(np.int64)


def _means(counts: sp.csr_array, n_rows: int) -> NDArray[np.float64]:
    """Means of runs of rows, dense."""
    block = np.arange(counts.shape[0]) * n_rows // max(counts.shape[0], 1)
    share = 1 / np.bincount(block, minlength=n_rows)[block]
    return (sp.csr_array((share, (block, np.arange(len(block)))), shape=(n_rows, len(block))) @ counts).toarray()
