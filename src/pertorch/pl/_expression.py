"""Expression of some genes, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch._settings import seed_or_default
from pertorch.data import Groups, open_matrix
from pertorch.pl._figure import bare, colour_bar, figure_of, open_axes, result
from pertorch.pl._lookup import var_positions
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def expression_heatmap(
    adata: AnnData,
    genes: Iterable[str],
    groupby: str,
    *,
    groups: Sequence[Any] | None = None,
    layer: str | None = None,
    subsample_number: int | None = 900,
    random_state: int | None = None,
    vmin: float | None = -2,
    vmax: float | None = 2,
    cmap: str = "PuOr_r",
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Genes × cells, cells by group, in standard deviations of each gene over the cells shown.

    Parameters
    ----------
    adata
        Annotated data with log-normalised expression.
    genes
        Names in ``adata.var_names``, from top to bottom.
    groupby
        Column of ``adata.obs``.
    groups
        Groups to show, in this order; ``None`` shows all.
    layer
        Key in ``adata.layers``. Default: ``adata.X``.
    subsample_number, random_state
        Most cells that are shown: of the largest groups, as many as of one another, drawn at random; smaller ones stay
        whole. ``None`` shows all. Seed; ``None`` is ``pertorch.settings.seed``.
    vmin, vmax
        Ends of the colours, in standard deviations; ``None``: the values' own.
    cmap
        Colour map.
    ax
        Axes to draw on; ``None`` makes a figure.
    return_fig
        Whether to return the figure, which is then not one of pyplot's.

    Returns
    -------
    The Axes, or the figure.

    Raises
    ------
    KeyError
        If the column, the layer or a gene does not exist.
    ValueError
        If no gene is named, a group has no cells, or ``subsample_number < 1``.
    """
    names = list(dict.fromkeys(genes))
    if not names:
        raise ValueError("genes is empty: name some of adata.var_names.")
    columns = var_positions(adata, names, "gene")
    if subsample_number is not None and subsample_number < 1:
        raise ValueError(f"subsample_number={subsample_number!r} must be at least 1.")
    found, matrix = Groups.from_obs(adata, groupby, groups), open_matrix(adata, layer or "X")
    cells = _drawn(found, subsample_number, seed_or_default(random_state))
    values = matrix.rows(torch.from_numpy(cells), columns).double().cpu().numpy().T
    sd = values.std(1, keepdims=True)
    scaled = (values - values.mean(1, keepdims=True)) / np.where(sd > 0, sd, 1)
    height = min(max(0.16 * len(names), 1.5), 14.0) + 1.0 + room_for(found.names)
    (ax,) = axes = open_axes(ax, (7.0 + room_for(names), height), return_fig=return_fig)
    image = ax.imshow(scaled, aspect="auto", cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    name_axis(ax, "y", names)
    _mark_groups(ax, found, cells)
    bare(ax)
    colour_bar(image, ax, "expression (sd of each gene)")
    return result(axes, return_fig=return_fig)


def _drawn(groups: Groups, most: int | None, seed: int) -> NDArray[np.int64]:
    """Cells by group, at most so many of them: the largest groups are cut to one size."""
    members = np.split(groups.order(torch.device("cpu")).numpy(), groups.offsets[1:-1].numpy())
    if most is None or sum(map(len, members)) <= most:
        return np.concatenate(members)
    sizes = np.sort([len(cells) for cells in members])
    left = most - np.concatenate([[0], np.cumsum(sizes)[:-1]])  # once the smaller ones have theirs
    shares = left // np.arange(len(sizes), 0, -1)
    share = int(shares[np.argmax(shares < sizes)])
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [cells if len(cells) <= share else np.sort(rng.choice(cells, share, replace=False)) for cells in members]
    )


def _mark_groups(ax: Axes, groups: Groups, cells: NDArray[np.int64]) -> None:
    """A line between groups, and the name of each that is wide enough to be named."""
    sizes = np.bincount(groups.codes[cells], minlength=len(groups.names))
    ends = np.cumsum(sizes)
    for end in ends[:-1]:
        ax.axvline(end - 0.5, color="w", lw=1.5)
    points = 72 * 0.75 * ax.get_position().width * figure_of(ax).get_figwidth() / max(len(cells), 1)
    widest = max(len(str(name)) for name in groups.names) * 0.65 * 8
    flat = all(size * points > widest for size in sizes if size)
    at, shown, last = [], [], -np.inf
    for name, size, end in zip(groups.names, sizes, ends, strict=True):
        place = end - size / 2 - 0.5
        if size and (flat or (place - last) * points > 9):
            at.append(place)
            shown.append(f"{name} ({size})" if flat and size * points > widest + 30 else str(name))
            last = place
    ax.set_xticks(at, shown, fontsize=8, rotation=0 if flat else 90)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(f"{len(cells):,} cells by {groups.column}")
