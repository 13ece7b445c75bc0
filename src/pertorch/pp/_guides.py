"""Assignment of guides to cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from pertorch.pp import _arguments as arguments
from pertorch.pp._counts import above, is_anndata, open_counts
from pertorch.pp._labels import one_guide
from pertorch.pp._max_guide import largest_guide

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
        counts = open_counts(adata, layer)
        assigned = counts.restore(above(counts, threshold))
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
        counts = open_counts(adata, layer, var)
        arguments.free_label(no_grna_assigned_key, "no_grna_assigned_key", counts.guides)
        guide, largest = largest_guide(counts)
        labels = one_guide(np.where(largest >= threshold, guide, -1), counts.guides, no_grna_assigned_key)
        if not is_anndata(adata):
            return np.asarray(labels, dtype=object)
        adata.obs[obs_key] = labels
        return None
