"""Values of cells, class by class."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import nearest, obs_column
from pertorch.pl._calls import NOT_PERTURBED
from pertorch.pl._density import bounds, density, drawn
from pertorch.pl._figure import COLOURS, CONTROL, ESCAPED, INK, PERTURBED, bare, open_axes, result
from pertorch.pl._names import name_axis, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS = 400  # most dots of one violin


class _Part(NamedTuple):
    """The cells of one value of `hue`, or all: its name, its colour (``None``: that of the class) and its cells."""

    name: str
    colour: str | None
    cells: NDArray[np.bool_]


def violin(
    adata: AnnData,
    target_gene_idents: str | Sequence[str] | None = None,
    *,
    keys: str | Sequence[str] = "mixscape_class_p_ko",
    groupby: str = "mixscape_class",
    hue: str | None = None,
    log: bool = False,
    stripplot: bool = True,
    size: float = 1.0,
    order: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Violins of values by class, with up to 400 of the cells in each as dots.

    Every violin is as wide as the others; the line is the median.

    Parameters
    ----------
    adata
        Annotated data.
    target_gene_idents
        Classes (``"STAT1 KO"``), or targets, which stand for all of their classes. ``None`` shows all.
    keys
        Columns of ``adata.obs`` with numbers: a panel each.
    groupby
        Column of ``adata.obs`` with the classes.
    hue
        Column of ``adata.obs``: violins of its values side by side.
    log
        Whether the values' axis is logarithmic; values must be above 0.
    stripplot, size
        Whether to draw dots, and how large, in points.
    order
        The classes to show, in this order, instead of that of the column.
    xlabel, ylabel
        Names of the axes; for several keys `ylabel` may be a list.
    ax, return_fig
        As for :func:`barplot`.

    Returns
    -------
    The Axes, a list of them where there are several keys, or the figure.

    Raises
    ------
    KeyError
        If a column does not exist.
    TypeError
        If a key's column does not hold numbers.
    ValueError
        If a class has no cells, or with `log` a value is not above 0.
    """
    columns = [keys] if isinstance(keys, str) else list(keys)
    values = [_numbers(adata, key, log=log) for key in columns]
    label, classes = obs_column(adata, groupby).astype(str), _classes(adata, groupby, target_gene_idents, order)
    cells, parts = {name: (label == name).to_numpy(bool) for name in classes}, _parts(adata, hue)
    width = min(1.4 + max(0.5, 0.35 * len(parts)) * len(classes), 16.0)
    height = 2.4 * len(columns) + 0.5 + room_for(classes)
    axes = open_axes(ax, (width, height), return_fig=return_fig, rows=len(columns), sharex=True)
    titles = columns if ylabel is None else [ylabel] if isinstance(ylabel, str) else list(ylabel)
    rng = np.random.default_rng(0)
    for panel, column, title in zip(axes, values, titles, strict=True):
        _draw_panel(panel, column, cells, parts, log=log, dots=size if stripplot else 0.0, rng=rng)
        panel.set_ylabel(title)
    name_axis(axes[-1], "x", classes)
    axes[-1].set_xlabel(xlabel)
    if hue:
        handles = [axes[0].scatter([], [], color=part.colour, marker="s") for part in parts]
        names = [part.name for part in parts]
        axes[0].legend(
            handles, names, title=hue, frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )
    return result(axes, return_fig=return_fig)


def _draw_panel(
    ax: Axes,
    values: NDArray[np.float64],
    cells: Mapping[str, NDArray[np.bool_]],
    parts: Sequence[_Part],
    *,
    log: bool,
    dots: float,
    rng: np.random.Generator,
) -> None:
    """The violins of one column: of each class, of each part of it."""
    if log:
        ax.set_yscale("log")
    half = 0.38 / len(parts)
    for i, (name, of_class) in enumerate(cells.items()):
        for k, part in enumerate(parts):
            chosen = values[of_class & part.cells & np.isfinite(values)]
            centre = i + 0.8 * ((k + 0.5) / len(parts) - 0.5)
            _violin(ax, chosen, centre, half, part.colour or _class_colour(name), log=log, dots=dots, rng=rng)
    ax.set_xlim(-0.6, len(cells) - 0.4)
    bare(ax, "left", "bottom")


def _violin(
    ax: Axes,
    values: NDArray[np.float64],
    centre: float,
    half: float,
    colour: str,
    *,
    log: bool,
    dots: float,
    rng: np.random.Generator,
) -> None:
    if not len(values):
        return
    scaled = np.log10(values) if log else values
    low, high = bounds(scaled)
    # A violin ends where its values do: a probability has none above 1.
    places, height = density(scaled, max(low, float(scaled.min())) - 1e-9, min(high, float(scaled.max())) + 1e-9)
    reach = half * height / (height.max() or 1)
    at = 10**places if log else places
    ax.fill_betweenx(at, centre - reach, centre + reach, color=colour, alpha=0.55, linewidth=0.6)
    if dots:
        shown = drawn(values, DOTS, rng)
        ax.scatter(centre + rng.uniform(-half, half, len(shown)) * 0.6, shown, s=dots**2, color=INK, lw=0, alpha=0.5)
    ax.hlines(float(np.median(values)), centre - half * 0.7, centre + half * 0.7, color=INK, linewidth=1.2)


def _numbers(adata: AnnData, key: str, *, log: bool) -> NDArray[np.float64]:
    column = obs_column(adata, key)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise TypeError(f"obs column {key!r} is {column.dtype}: keys must name columns of numbers.")
    values = column.to_numpy(np.float64, na_value=np.nan)
    if log and not (values[np.isfinite(values)] > 0).all():
        raise ValueError(f"obs column {key!r} holds values that are not above 0: leave log out.")
    return values


def _values(adata: AnnData, key: str) -> list[Hashable]:
    """The labels of a column that have cells: categories in their order, else sorted."""
    column = obs_column(adata, key)
    return list(pd.Categorical(column).remove_unused_categories().categories)


def _classes(
    adata: AnnData, groupby: str, idents: str | Sequence[str] | None, order: Sequence[str] | None
) -> list[str]:
    known = _values(adata, groupby)
    asked = idents if order is None else order
    if asked is None:
        return [str(name) for name in known]
    found: list[str] = []
    for ident in [asked] if isinstance(asked, str) else asked:
        of_target = [name for name in known if str(name) == ident] or [
            name for name in known if str(name).startswith(f"{ident} ")
        ]
        if not of_target:
            raise ValueError(
                f"{ident!r} is neither a class in obs column {groupby!r} nor a target of one: {nearest(ident, known)}"
            )
        found += [str(name) for name in of_target]
    return list(dict.fromkeys(found))


def _parts(adata: AnnData, hue: str | None) -> list[_Part]:
    if hue is None:
        return [_Part("", None, np.ones(adata.n_obs, dtype=bool))]
    label, names = obs_column(adata, hue).astype(object).to_numpy(), _values(adata, hue)
    if len(names) > len(COLOURS):
        raise ValueError(f"hue={hue!r} has {len(names)} values, and no more than {len(COLOURS)} can be told apart.")
    return [_Part(str(name), colour, label == name) for name, colour in zip(names, COLOURS, strict=False)]


def _class_colour(name: str) -> str:
    if " " not in name:
        return CONTROL
    return ESCAPED if name.endswith(f" {NOT_PERTURBED}") else PERTURBED
