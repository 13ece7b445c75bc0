"""Guide counts of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data import obs_column
from pertorch.pl._figure import colour_bar, open_axes, result
from pertorch.pl._guide_counts import guide_counts
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLOCKS = 2_000  # most rows of a heat map of cells: more than a figure has pixels


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

    Returns
    -------
    The Axes, or the figure.

    Raises
    ------
    KeyError
        If the layer or column does not exist.
    ValueError
        If `order_by` does not name each cell once, or a count is negative.
    """
    counts = guide_counts(adata, layer)
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
