"""Assignment of guides to cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, final

import numpy as np

from pertorch import pl
from pertorch.data import check_writable
from pertorch.exec import resolve_devices
from pertorch.pp import _arguments as arguments
from pertorch.pp._counts import Counts, above, is_anndata, with_counts
from pertorch.pp._labels import one_guide
from pertorch.pp._max_guide import largest_guide
from pertorch.pp._run import run_method

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@final
class GuideAssignment:
    """Assign guides to cells: drop-in for ``pertpy.pp.GuideAssignment`` and ``rapids_singlecell.ptg.GuideAssignment``.

    Counts may be stored in any way: dense, CSR or CSC, ``*_matrix`` or ``*_array``, integers or floats, unsorted or
    with repeated entries, views, backed files. The answer is the same; explicit zeros are zeros.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pertorch
    >>> adata = ad.AnnData(np.array([[9, 0], [1, 7], [0, 2]], dtype=np.float32))
    >>> adata.var_names = ["g1", "g2"]
    >>> pertorch.GuideAssignment().assign_to_max_guide(adata, assignment_threshold=5)
    >>> list(adata.obs["assigned_guide"])
    ['g1', 'g2', 'Negative']
    """

    plot_heatmap = staticmethod(pl.guide_heatmap)

    def __repr__(self) -> str:
        return "GuideAssignment()"

    def assign_by_threshold(
        self,
        adata: AnnData | Any,
        *,
        assignment_threshold: float,
        layer: str | None = None,
        output_layer: str = "assigned_guides",
    ) -> Any | None:
        """Assign to each cell every guide with at least `assignment_threshold` counts.

        Parameters
        ----------
        adata
            Annotated data of shape ``n_obs × n_vars`` with raw counts, or a bare array.
        assignment_threshold
            Counts required, in UMIs, above 0.
        layer
            Key in ``adata.layers``. Default: ``adata.X``.
        output_layer
            Key in ``adata.layers`` for the result: int8, one where assigned. Sparse counts give a sparse result that
            stores the ones alone.

        Returns
        -------
        ``None``; for a bare array, the result.

        Raises
        ------
        KeyError
            If the layer does not exist.
        ValueError
            If the threshold is not above 0, or a count is negative, fractional, NaN or infinite.
        """
        threshold = arguments.positive_threshold(assignment_threshold)
        arguments.key(output_layer, "output_layer")
        check_writable(adata)
        device = resolve_devices()[0]
        assigned = with_counts(lambda counts: counts.restore(above(counts, threshold)), adata, layer, None, device)
        if not is_anndata(adata):
            return assigned
        adata.layers[output_layer] = assigned
        return None

    def assign_to_max_guide(
        self,
        adata: AnnData | Any,
        *,
        assignment_threshold: float,
        layer: str | None = None,
        obs_key: str = "assigned_guide",
        no_grna_assigned_key: str = "Negative",
        var: pd.DataFrame | None = None,
    ) -> np.ndarray | None:
        """Assign to each cell the guide with the largest count, if that is at least `assignment_threshold`.

        Parameters
        ----------
        adata
            Annotated data of shape ``n_obs × n_vars`` with raw counts, or a bare array.
        assignment_threshold
            Counts required, in UMIs, above 0.
        layer
            Key in ``adata.layers``. Default: ``adata.X``.
        obs_key
            Column in ``adata.obs`` for the result, categorical. Of guides that tie, the first in var order is taken.
        no_grna_assigned_key
            Label of cells in which no guide reaches the threshold.
        var
            For a bare array: the frame whose index names the guides, as in pertpy.

        Returns
        -------
        ``None``; for a bare array, the labels, shape ``(n_obs,)``.

        Raises
        ------
        KeyError
            If the layer does not exist.
        ValueError
            If the threshold is not above 0, a count is negative, fractional, NaN or infinite, or the label for no
            guide is the name of a guide.
        """
        threshold = arguments.positive_threshold(assignment_threshold)
        arguments.key(obs_key, "obs_key")
        arguments.key(no_grna_assigned_key, "no_grna_assigned_key")
        check_writable(adata)

        def work(counts: Counts) -> pd.Categorical:
            arguments.free_label(no_grna_assigned_key, "no_grna_assigned_key", counts.guides)
            guide, largest = largest_guide(counts)
            return one_guide(np.where(largest >= threshold, guide, -1), counts.guides, no_grna_assigned_key)

        labels = with_counts(work, adata, layer, var, resolve_devices()[0])
        if not is_anndata(adata):
            return np.asarray(labels, dtype=object)
        adata.obs[obs_key] = labels
        return None

    def assign_mixture_model(
        self,
        adata: AnnData | Any,
        *,
        layer: str | None = None,
        assigned_guides_key: str = "assigned_guide",
        no_grna_assigned_key: str = "negative",
        max_assignments_per_cell: int = 5,
        multiple_grna_assigned_key: str = "multiple",
        multiple_grna_assignment_string: str = "+",
        only_return_results: bool = False,
        max_iter: int = 90,
        tol: float = 1e-4,
        posterior_threshold: float = 0.5,
        show_progress: bool | None = None,
        var: pd.DataFrame | None = None,
        model: str = "poisson_gauss_mixture",
        n_iter: int | None = None,  # noqa: ARG002
        learning_rate: float | None = None,  # noqa: ARG002
        n_init_seeds: int | None = None,  # noqa: ARG002
        seed: int | None = None,  # noqa: ARG002
    ) -> np.ndarray | None:
        """Assign guides by a Poisson-Gauss mixture of each guide's log₂ counts (crispat; Replogle et al. 2022).

        Over the cells that hold the guide at all, log₂ counts are a mixture of ambient background, a Poisson density
        continued to real numbers, and a Gaussian signal. Each guide's maximum a posteriori gives the smallest count
        whose posterior of signal exceeds `posterior_threshold`; cells with at least that count have the guide. All
        guides are fitted at once, on their histograms of counts, so the time does not grow with the number of cells.

        Parameters
        ----------
        adata
            Annotated data of shape ``n_obs × n_vars`` with raw counts, or a bare array.
        layer
            Key in ``adata.layers``. Default: ``adata.X``.
        assigned_guides_key
            Column in ``adata.obs`` for the result, categorical: the cell's guides, joined in var order.
        no_grna_assigned_key
            Label of cells without a guide.
        max_assignments_per_cell
            Most guides that a label names.
        multiple_grna_assigned_key
            Label of cells with more guides than that.
        multiple_grna_assignment_string
            What joins the names of several guides.
        only_return_results
            Return the labels and write nothing.
        max_iter
            Most Newton steps of a fit.
        tol
            A fit has converged when a Newton step moves no parameter (log rate, mean, log standard deviation, logit
            weight) by as much.
        posterior_threshold
            Posterior of signal that a count must exceed, in (0, 1).
        show_progress
            Show a progress bar. Default: ``pertorch.settings.progress``.
        var
            For a bare array: the frame whose index names the guides, as in pertpy.
        model
            ``"poisson_gauss_mixture"``, the only one here; :meth:`assign` knows others.
        n_iter, learning_rate, n_init_seeds, seed
            Accepted so that pertpy's calls run. Without effect: the fit is deterministic, and runs to its optimum.

        Returns
        -------
        ``None``; with `only_return_results`, or for a bare array, the labels, shape ``(n_obs,)``. Written to
        ``adata.obs``: the labels. To ``adata.var``: ``poisson_rate``, ``gaussian_mean``, ``gaussian_std``,
        ``mix_probs_0`` (background), ``mix_probs_1`` (signal), ``threshold`` and ``final_loss``, the negative log
        posterior; NaN for guides that were not fitted.

        Raises
        ------
        KeyError
            If the layer does not exist.
        ValueError
            If a parameter is out of its range, a count is negative, fractional, NaN or infinite, or a label is the
            name of a guide.

        Warns
        -----
        UserWarning
            Names the guides that were not fitted (seen in fewer than 2 cells, or never with 2 molecules), and those
            whose fit did not converge.
        """
        arguments.one_of(model, "model", ["poisson_gauss_mixture"])
        found = run_method(
            adata,
            "poisson_gauss",
            {"posterior_threshold": posterior_threshold, "max_iter": max_iter, "tol": tol},
            layer=layer,
            var=var,
            keys={"assigned_guides_key": assigned_guides_key},
            wording=arguments.wording(
                no_grna_assigned_key,
                multiple_grna_assignment_string,
                multiple_grna_assigned_key,
                max_assignments_per_cell,
            ),
            show_progress=show_progress,
            writes=not only_return_results,
        )
        for note in found.notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        if only_return_results or not is_anndata(adata):
            return np.asarray(found.labels, dtype=object)
        adata.obs[assigned_guides_key] = found.labels
        for column in found.parameters:
            adata.var[column] = found.parameters[column].to_numpy()
        return None

    def assign(
        self,
        adata: AnnData | Any,
        *,
        method: str = "poisson_gauss",
        layer: str | None = None,
        batch_key: str | None = None,
        assigned_guides_key: str = "assigned_guide",
        output_layer: str = "assigned_guides",
        uns_key: str = "guide_assignment",
        no_grna_assigned_key: str = "negative",
        max_assignments_per_cell: int = 5,
        multiple_grna_assigned_key: str = "multiple",
        multiple_grna_assignment_string: str = "+",
        umi_threshold: float = 1,
        only_return_results: bool = False,
        show_progress: bool | None = None,
        var: pd.DataFrame | None = None,
        **options: Any,
    ) -> np.ndarray | None:
        """Assign guides by any of the methods that crispat compares (Braunger et al. 2024), by name.

        ===================== ===================================================== ========================
        method                a cell has a guide if                                 options (default)
        ===================== ===================================================== ========================
        ``threshold``         it holds so many of it                                assignment_threshold (5)
        ``maximum``           it holds so many of it, and of no other more          assignment_threshold (1)
        ``ratio``             it is the largest, and exceeds a share of the counts  ratio (0.5)
        ``quantiles``         its share of the cell is among the guide's highest    quantile (0.35)
        ``2beta``             as ``ratio``; the share from two Beta densities       max_iter, tol
        ``3beta``             as ``2beta``; a third density for several guides      max_iter, tol
        ``gauss``             it reaches the threshold of a mixture of Gaussians    nonzero (False), …
        ``poisson_gauss``     as :meth:`assign_mixture_model`                       posterior_threshold (0.5), …
        ``poisson``           its posterior, given depth and batch, is high enough  posterior_threshold (0.8), …
        ``negative_binomial`` likewise, of overdispersed counts                     posterior_threshold (0.8), …
        ``binomial``          likewise, of the cell's counts                        posterior_threshold (0.5), …
        ===================== ===================================================== ========================

        ``umi`` and ``max`` are other names of the first two. All fits are deterministic, and of all guides at once.

        Parameters
        ----------
        adata
            Annotated data of shape ``n_obs × n_vars`` with raw counts, or a bare array.
        method
            See above.
        layer
            Key in ``adata.layers``. Default: ``adata.X``.
        batch_key
            Column in ``adata.obs``: ``gauss``, ``2beta`` and ``3beta`` are fitted in each batch, the methods that see
            depth have an effect for each, the others do not look at it. Default: all cells are one batch.
        assigned_guides_key, output_layer, uns_key
            Where the result goes: labels to ``adata.obs``, cells × guides (int8, one where assigned) to
            ``adata.layers``, the method and the parameters of its fits to ``adata.uns``.
        no_grna_assigned_key, max_assignments_per_cell, multiple_grna_assigned_key, multiple_grna_assignment_string
            How cells are labelled: see :meth:`assign_mixture_model`.
        umi_threshold
            Counts below which no guide is assigned, whatever the method finds.
        only_return_results
            Return the labels and write nothing.
        show_progress
            Show a progress bar. Default: ``pertorch.settings.progress``.
        var
            For a bare array: the frame whose index names the guides.
        **options
            Options of the method.

        Returns
        -------
        ``None``; with `only_return_results`, or for a bare array, the labels, shape ``(n_obs,)``.

        Raises
        ------
        KeyError
            If the layer or the column does not exist.
        TypeError
            If the method has no such option.
        ValueError
            If the method is unknown, a parameter is out of its range, or as :meth:`assign_mixture_model`.

        Examples
        --------
        >>> import anndata as ad, numpy as np, pertorch
        >>> adata = ad.AnnData(np.array([[9, 1], [3, 4], [0, 2]], dtype=np.float32))
        >>> pertorch.GuideAssignment().assign(adata, method="ratio", ratio=0.8)
        >>> list(adata.obs["assigned_guide"])
        ['0', 'negative', '1']
        """
        found = run_method(
            adata,
            method,
            options,
            layer=layer,
            var=var,
            keys={"assigned_guides_key": assigned_guides_key, "output_layer": output_layer, "uns_key": uns_key},
            wording=arguments.wording(
                no_grna_assigned_key,
                multiple_grna_assignment_string,
                multiple_grna_assigned_key,
                max_assignments_per_cell,
            ),
            batch_key=batch_key,
            umi_threshold=umi_threshold,
            show_progress=show_progress,
            writes=not only_return_results,
        )
        for note in found.notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        if only_return_results or not is_anndata(adata):
            return np.asarray(found.labels, dtype=object)
        adata.obs[assigned_guides_key] = found.labels
        adata.layers[output_layer] = found.matrix
        adata.uns[uns_key] = {"method": method, "options": dict(options), "parameters": found.parameters}
        return None
