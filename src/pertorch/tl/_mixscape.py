"""``Mixscape``: which cells of a screen were perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, final, get_args

import pandas as pd

from pertorch import pl
from pertorch.data import check_writable
from pertorch.tl._classify import Calls, classify
from pertorch.tl._compare import TestMethod
from pertorch.tl._lda import lda
from pertorch.tl._marker_sets import marker_sets
from pertorch.tl._markers import warn_of_single_cells
from pertorch.tl._mixscale import mixscale
from pertorch.tl._operator import find_signature
from pertorch.tl._plots import plot_heatmap
from pertorch.tl._screen import Screen, check_choice, check_least, target_of
from pertorch.tl._signature import perturbation_signature

if TYPE_CHECKING:
    from anndata import AnnData

FitOn = Literal["all", "targets"]
# Options of scikit-learn's GaussianMixture, which pertpy passes on. Those of the fit are ours too; the rest choose
# among starts that a converged fit does not need.
FIT_OPTIONS = {"tol": "tol", "max_iter": "max_iter", "reg_covar": "floor"}
IDLE_OPTIONS = frozenset(("n_init", "init_params", "warm_start", "verbose", "verbose_interval", "covariance_type"))


def mixscape(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    new_class_name: str = "mixscape_class",
    layer: str | None = None,
    min_de_genes: int = 5,
    logfc_threshold: float = 0.25,
    de_layer: str | None = None,
    test_method: TestMethod = "wilcoxon",
    iter_num: int = 10,
    scale: bool = True,
    split_by: str | None = None,
    pval_cutoff: float = 0.05,
    perturbation_type: str = "KO",
    random_state: int | None = 0,
    de_genes_by_target: Mapping[Any, Sequence[str]] | pd.DataFrame | None = None,
    fit_on: FitOn = "all",
    store_projections: bool = True,
    copy: bool = False,
    **gmmkwargs: Any,
) -> AnnData | None:
    """Tell perturbed cells from those that escaped, target by target (Papalexi et al. 2021).

    The markers of a target are the genes in which its cells differ from the controls. Cells are projected on the line
    from the controls to the target's cells in the signature of the markers; there a mixture of two normals, one fixed
    by the controls, separates perturbed cells, which define the line anew until no call changes. The mixture is run to
    convergence, so the calls depend on the data alone.

    Parameters
    ----------
    adata
        Annotated data after :meth:`Mixscape.perturbation_signature`.
    pert_key
        Column of ``adata.obs`` with the targets. Cells with a missing label get a missing class.
    control
        Label of the control cells in that column.
    new_class_name
        Column of ``adata.obs`` to write.
    layer
        Key of ``adata.layers`` with the signature; ``None`` is what ``perturbation_signature`` left.
    min_de_genes
        Fewest markers of a target that is tested, and fewest perturbed cells: with fewer none counts as perturbed.
    logfc_threshold, pval_cutoff
        A marker has at least this absolute log fold change (log2) and an adjusted p below this.
    de_layer
        Key of ``adata.layers`` to find markers in; ``None`` is ``adata.X``.
    test_method
        As for :func:`pertorch.tl.perturbation_markers`.
    iter_num
        Most refinements; with 0 every cell of a target with markers counts as perturbed.
    scale
        Whether markers are scaled to unit variance over a target's cells and the controls.
    split_by
        Column of ``adata.obs``, for instance the replicate: each split is analysed by itself.
    perturbation_type
        Name of the perturbed class, for instance ``"KO"`` or ``"KD"``.
    random_state
        Accepted for the peers' sake: nothing here is random.
    de_genes_by_target
        Markers of your own instead of the test: gene names by target, or a table such as
        :func:`pertorch.tl.perturbation_markers` returns.
    fit_on
        Cells that the mixture is fitted to: ``"all"``, the target's and the controls (as the peers), or ``"targets"``.
        Then its weight is the share of the target's own cells that are perturbed, not diluted by the controls, which
        still fix one component: more cells count as perturbed, and on simulated screens more calls are right.
    store_projections
        Whether to write ``adata.uns["mixscape"]``, which takes a row per control cell for each target.
    copy
        Whether to return a changed copy.
    **gmmkwargs
        ``tol``, ``max_iter``, ``reg_covar`` of the mixture; further options of scikit-learn's ``GaussianMixture`` are
        accepted without effect.

    Returns
    -------
    The copy with ``copy=True``, else ``None``. Writes to ``adata``:

    ``obs[new_class_name]``
        ``"<target> <perturbation_type>"``, ``"<target> NP"``, or the control's label.
    ``obs[f"{new_class_name}_global"]``
        The perturbation type, ``"NP"``, or the control's label.
    ``obs[f"{new_class_name}_p_{perturbation_type.lower()}"]``
        Posterior probability of being perturbed; 0 for controls and untested cells.
    ``uns["mixscape"]``
        Target → split (or ``"all"``) → the first projection of its cells and the controls (``pvec``).
    ``uns["mixscape_status"]``
        A row per target and split: cells, markers, refinements, whether they came to rest, fraction perturbed, status.

    Raises
    ------
    KeyError
        If a column or layer, or the signature, does not exist.
    ValueError
        If the control has no cells (at all, or in a split), the data hold NaN or infinity, or an argument is out of
        range.
    """
    del random_state
    check_choice("test_method", test_method, get_args(TestMethod))
    check_choice("fit_on", fit_on, get_args(FitOn))
    check_least("iter_num", iter_num, 0)
    check_least("min_de_genes", min_de_genes, 1)
    if not copy:
        check_writable(adata)
    options = _fit_options(gmmkwargs)
    screen, signature = Screen.from_obs(adata, pert_key, control, split_by), find_signature(adata, layer)
    sets = marker_sets(
        adata,
        screen,
        de_genes_by_target,
        de_layer,
        test_method,
        logfc_threshold=logfc_threshold,
        pval_cutoff=pval_cutoff,
    )
    calls = Calls.none(adata.n_obs)
    for split, markers in zip(screen.splits, sets, strict=True):
        classify(
            calls,
            signature,
            split,
            markers,
            n_refinements=iter_num,
            least=min_de_genes,
            scale=scale,
            with_controls=fit_on == "all",
            projections=store_projections,
            options=options,
        )
    warn_of_single_cells(screen)
    target = target_of(adata, copy=copy)
    calls.write(target, screen, pert_key, new_class_name, perturbation_type, projections=store_projections)
    return target if copy else None


@final
class Mixscale:
    """Continuous scores of how strongly each cell was perturbed: drop-in for both peers' ``Mixscale``."""

    perturbation_signature = staticmethod(perturbation_signature)
    mixscale = staticmethod(mixscale)


@final
class Mixscape:
    """Which cells of a screen were perturbed: drop-in for pertpy's and rapids_singlecell's ``Mixscape``.

    Run :meth:`perturbation_signature`, then :meth:`mixscape` (classes), :meth:`mixscale` (continuous scores), and after
    :meth:`mixscape` also :meth:`lda`. Methods that begin with ``plot_`` draw the results: see :mod:`pertorch.pl`.
    """

    perturbation_signature = staticmethod(perturbation_signature)
    mixscape = staticmethod(mixscape)
    mixscale = staticmethod(mixscale)
    lda = staticmethod(lda)
    plot_barplot = staticmethod(pl.barplot)
    plot_heatmap = staticmethod(plot_heatmap)
    plot_lda = staticmethod(pl.lda)
    plot_perturbscore = staticmethod(pl.perturbscore)
    plot_violin = staticmethod(pl.violin)


def _fit_options(gmmkwargs: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(gmmkwargs) - set(FIT_OPTIONS) - IDLE_OPTIONS)
    if unknown:
        raise TypeError(f"mixscape() got an unexpected keyword argument {unknown[0]!r}")
    for name in FIT_OPTIONS:
        if name in gmmkwargs and not gmmkwargs[name] > 0:
            raise ValueError(f"{name}={gmmkwargs[name]!r} must be greater than 0.")
    return {ours: gmmkwargs[name] for name, ours in FIT_OPTIONS.items() if name in gmmkwargs}
