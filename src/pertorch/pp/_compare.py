"""How far assignments agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.pp._counts import Counts, open_counts

if TYPE_CHECKING:
    from anndata import AnnData


class Comparison(NamedTuple):
    """Agreement between assignments.

    Attributes
    ----------
    jaccard
        Pairs (cell, guide) that both assign, of those that either assigns: assignments × assignments, float64.
        1 for two that both assign nothing.
    agreement
        Equal decisions, of all cells × guides: assignments × assignments, float64.
    guides
        A row for each guide and pair of assignments: cells that ``both`` assign, ``only_left`` and ``only_right``, and
        their ``jaccard``.
    """

    jaccard: pd.DataFrame
    agreement: pd.DataFrame
    guides: pd.DataFrame


def compare_assignments(adata: AnnData, layers: Sequence[str]) -> Comparison:
    """Compare assignments of the same cells.

    Parameters
    ----------
    adata
        Annotated data of shape ``n_obs × n_vars`` whose `layers` hold assignments: nonzero where a cell has a guide.
    layers
        Two or more keys in ``adata.layers``.

    Raises
    ------
    KeyError
        If a layer does not exist.
    ValueError
        If fewer than two are named, or one twice.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pertorch
    >>> adata = ad.AnnData(np.array([[9, 1], [4, 4], [0, 3]], dtype=np.float32))
    >>> for threshold in (2, 4):
    ...     pertorch.GuideAssignment().assign_by_threshold(
    ...         adata, assignment_threshold=threshold, output_layer=f"t{threshold}"
    ...     )
    >>> float(pertorch.pp.compare_assignments(adata, ["t2", "t4"]).jaccard.loc["t2", "t4"])
    0.75
    """
    if isinstance(layers, str) or len(layers) < 2 or len(set(layers)) < len(layers):
        raise ValueError(f"layers={layers!r}: name two or more different keys of adata.layers.")
    found = [_assigned(open_counts(adata, layer)) for layer in layers]
    sizes = [_per_guide(matrix) for matrix in found]
    jaccard, agreement = np.eye(len(layers)), np.eye(len(layers))
    tables = []
    for i, j in itertools.combinations(range(len(layers)), 2):
        both = _per_guide(found[i].multiply(found[j]).tocsr())
        left, right = sizes[i] - both, sizes[j] - both
        jaccard[i, j] = jaccard[j, i] = _jaccard(both.sum(), left.sum() + right.sum())
        agreement[i, j] = agreement[j, i] = 1 - (left.sum() + right.sum()) / max(adata.n_obs * adata.n_vars, 1)
        table = pd.DataFrame(
            {"both": both, "only_left": left, "only_right": right, "jaccard": _jaccard(both, left + right)}
        )
        table.insert(0, "guide", adata.var_names)
        tables.append(table.assign(left=layers[i], right=layers[j]))
    names = pd.Index(list(layers), name="assignment")
    return Comparison(
        pd.DataFrame(jaccard, index=names, columns=names),
        pd.DataFrame(agreement, index=names, columns=names),
        pd.concat(tables, ignore_index=True).set_index(["left", "right", "guide"]),
    )


def _assigned(counts: Counts) -> sp.csr_array:
    return counts.matrix.astype(bool)


def _per_guide(matrix: sp.csr_array) -> NDArray[np.int64]:
    return np.bincount(matrix.indices, minlength=matrix.shape[1])


def _jaccard(both: NDArray[np.int64], apart: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(both + apart > 0, both / np.maximum(both + apart, 1), 1.0)
