"""Plots of ``Mixscape`` that need more than what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pertorch import pl
from pertorch.data import obs_column
from pertorch.tl._classify import NOT_PERTURBED
from pertorch.tl._compare import TestMethod
from pertorch.tl._markers import perturbation_markers
from pertorch.tl._screen import check_least

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_heatmap(
    adata: AnnData,
    pert_key: str,
    target_gene: str,
    control: str = "NT",
    *,
    layer: str | None = None,
    method: TestMethod = "wilcoxon",
    n_genes: int = 20,
    mixscape_class: str = "mixscape_class",
    perturbation_type: str = "KO",
    subsample_number: int | None = 900,
    random_state: int | None = None,
    vmin: float | None = -2,
    vmax: float | None = 2,
    ax: Axes | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Markers of one target in its cells and the controls, cells by class.

    Parameters
    ----------
    adata
        Annotated data after :meth:`Mixscape.mixscape`.
    pert_key, control
        As for :meth:`Mixscape.mixscape`.
    target_gene
        The target.
    layer
        Key of ``adata.layers`` to test and to show; ``None`` is ``adata.X``.
    method
        As ``test_method`` of :func:`pertorch.tl.perturbation_markers`.
    n_genes
        The genes that are shown: so many of the highest score, and so many of the lowest.
    mixscape_class, perturbation_type
        As ``new_class_name`` and ``perturbation_type`` of :meth:`Mixscape.mixscape`.
    subsample_number, random_state, vmin, vmax, ax, return_fig
        As for :func:`pertorch.pl.expression_heatmap`.

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ValueError
        If the control or the target has no cells, or ``n_genes < 1``.
    """
    check_least("n_genes", n_genes, 1)
    known = set(obs_column(adata, mixscape_class).dropna().astype(str))
    markers = perturbation_markers(adata, pert_key, control, targets=[target_gene], layer=layer, test_method=method)
    ranked = markers.sort_values("score", ascending=False, kind="stable")["gene"].tolist()
    classes = [str(control), f"{target_gene} {NOT_PERTURBED}", f"{target_gene} {perturbation_type}"]
    options: dict[str, Any] = {"vmin": vmin, "vmax": vmax, "ax": ax, "return_fig": return_fig}
    return pl.expression_heatmap(
        adata,
        dict.fromkeys([*ranked[:n_genes], *ranked[-n_genes:]]),
        mixscape_class,
        groups=[name for name in classes if name in known],
        layer=layer,
        subsample_number=subsample_number,
        random_state=random_state,
        **options,
    )
