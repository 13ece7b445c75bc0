"""Cells on the discriminants of their perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pertorch.data import nearest
from pertorch.pl._calls import Calls
from pertorch.pl._figure import COLOURS, CONTROL, INK, bare, open_axes, result
from pertorch.pl._lookup import known_name
from pertorch.pl._names import label_points

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lda(
    adata: AnnData,
    control: str,
    *,
    mixscape_class: str = "mixscape_class",
    mixscape_class_global: str = "mixscape_class_global",
    perturbation_type: str = "KO",
    lda_key: str = "mixscape_lda",
    components: tuple[int, int] = (1, 2),
    highlight: Sequence[str] | None = None,
    palette: Mapping[str, str] | None = None,
    n_labels: int = 30,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Perturbed cells and controls on two discriminants of ``Mixscape.lda``.

    Up to eight targets have a colour each. Of more, no palette can be told apart: their cells are pale, a dot marks
    each target's mean, and the means farthest from the controls' are named; `highlight` gives some of them colours.

    Parameters
    ----------
    adata
        Annotated data after ``lda``.
    control
        Label of the controls.
    mixscape_class, mixscape_class_global, perturbation_type
        As for ``Mixscape.lda``.
    lda_key
        Key in ``adata.uns``.
    components
        Discriminants to show, counted from 1.
    highlight
        Targets to colour, at most eight.
    palette
        Colours by target.
    n_labels
        Most targets that are named; names that would cover others are left out.
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
        If the embedding or a column does not exist.
    ValueError
        If the embedding is of other cells, has no such component, the control has no cells, or a target to highlight
        has none.
    """
    if lda_key not in adata.uns:
        raise KeyError(f"uns[{lda_key!r}] not found: run Mixscape.lda first ({nearest(lda_key, adata.uns)})")
    calls = Calls.of(adata, mixscape_class, mixscape_class_global)
    known_name(control, "control", set(calls.kind[calls.is_control]))
    points = np.asarray(adata.uns[lda_key], dtype=np.float64)
    shown = calls.is_control | (calls.kind == perturbation_type)
    if len(points) != shown.sum():
        raise ValueError(
            f"uns[{lda_key!r}] has {len(points)} rows, and adata {shown.sum()} controls and cells of class "
            f"{perturbation_type!r}: run Mixscape.lda again."
        )
    if len(set(components)) != 2 or not all(1 <= c <= points.shape[1] for c in components):
        raise ValueError(f"components={components!r} must be two of the {points.shape[1]} discriminants, from 1.")
    points, target = points[:, [c - 1 for c in components]], calls.target[shown]
    names = sorted(set(target) - {control})
    coloured = _coloured(names, highlight, palette)
    centre = points[target == control].mean(0)
    means = np.array([points[target == name].mean(0) for name in names]).reshape(-1, 2)
    (ax,) = axes = open_axes(ax, (6.0, 4.8), return_fig=return_fig)
    _cells(ax, points, target, control, coloured)
    if len(coloured) < len(names):
        ax.scatter(means[:, 0], means[:, 1], s=10, color=INK, lw=0, zorder=4, label=f"mean of a target ({len(names)})")
    if len(coloured) or len(names) > len(COLOURS):
        ax.legend(frameon=False, fontsize=8, markerscale=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set_xlabel(f"discriminant {components[0]}")
    ax.set_ylabel(f"discriminant {components[1]}")
    bare(ax, "left", "bottom")
    plain = np.flatnonzero([name not in coloured for name in names])  # the others are named beside their colour
    far = plain[np.argsort(-np.linalg.norm(means[plain] - centre, axis=1), kind="stable")][:n_labels]
    label_points(ax, means, far.tolist(), [str(names[k]) for k in far])
    return result(axes, return_fig=return_fig)


def _coloured(
    names: Sequence[str], highlight: Sequence[str] | None, palette: Mapping[str, str] | None
) -> dict[str, str]:
    if palette is not None:
        return {name: colour for name, colour in palette.items() if name in names}
    if highlight is None:
        highlight = names if len(names) <= len(COLOURS) else []
    if len(highlight) > len(COLOURS):
        raise ValueError(
            f"highlight names {len(highlight)} targets, and no more than {len(COLOURS)} can be told apart."
        )
    for name in highlight:
        known_name(name, "highlight", names)
    return dict(zip(highlight, COLOURS, strict=False))


def _cells(
    ax: Axes, points: NDArray[np.float64], target: NDArray[np.object_], control: str, coloured: Mapping[str, str]
) -> None:
    size = float(np.clip(3_000 / max(len(points), 1), 0.5, 8))
    others = ~np.isin(target, [control, *coloured])
    for chosen, colour, name in (
        (target == control, CONTROL, control),
        (others, "#C9D6DF", "other targets"),
        *((target == name, colour, name) for name, colour in coloured.items()),
    ):
        if chosen.any():
            label = f"{name} ({chosen.sum():,})"
            x, y = points[chosen].T
            ax.scatter(x, y, s=size, color=colour, lw=0, alpha=0.7, label=label, rasterized=True)
