"""Mann and Whitney's U of many groups against one control, gene by gene, from what is stored of a sparse matrix.

``U[j, k] = Σ_{x in group k} #{c < x} + ½ #{c = x}`` over the control's values ``c`` of gene ``j``. Only the order of a
cell among the *controls* enters, so each gene is sorted once for all groups, and no group is ever ranked by itself:
``rank sum = U + n(n + 1)/2``. Zeros, which a sparse matrix does not store, all have the same count and enter in
closed form.

Two layouts. By columns, each a sort of its own (:func:`u_statistics`): a CPU's caches hold a gene. By rows
(:func:`add_excess`): only the controls are sorted, and every stored value finds its place among them by itself, which
is what a GPU does best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.ops.mann_whitney import _numpy, _torch
from pertorch.ops.mann_whitney._controls import SortedControls

__all__ = ["SortedControls", "add_excess", "group_cuts", "segment_sums", "u_beside", "u_statistics"]


def u_statistics(values: Tensor, cuts: Tensor, sizes: Tensor) -> Tensor:
    """U of every group against group 0, the control, for each gene; on the CPU.

    Parameters
    ----------
    values
        Non-zero values, shape ``(nnz,)``, floating, sorted by gene and within a gene by group.
    cuts
        Shape ``(g, k + 1)``, int64: gene ``j`` of group ``h`` is ``values[cuts[j, h]:cuts[j, h + 1]]``.
    sizes
        Cells in each group, shape ``(k,)``, int64, those with a zero included.

    Returns
    -------
    Shape ``(g, k)``, float64, exact: U is a multiple of one half. Column 0 is the control against itself.
    """
    # torch sorts and searches on the CPU ten times slower than numpy's vectorised argsort (83 and 100 ns a value
    # against 13, two AVX-512 cores).
    return _numpy.u_statistics(values, cuts, sizes)


def u_beside(controls: Tensor, starts: Tensor, values: Tensor, cuts: Tensor, sizes: Tensor) -> Tensor:
    """As :func:`u_statistics`, beside controls that are sorted already, however often that is asked; on the CPU.

    Parameters
    ----------
    controls, starts
        The control's non-zero values, shape ``(c,)``; those of gene ``j`` are ``controls[starts[j]:starts[j + 1]]``,
        ascending.
    values, cuts
        Those of the other groups: gene ``j`` of group ``h`` is ``values[cuts[j, h]:cuts[j, h + 1]]``.
    sizes
        Cells in each group, the control first, shape ``(1 + k,)``, int64.

    Returns
    -------
    Shape ``(g, k)``, float64, exact: the control itself is left out.
    """
    return _numpy.u_beside(controls, starts, values, cuts, sizes)


def segment_sums(values: Tensor, cuts: Tensor, *, squared: bool = False) -> Tensor:
    """Sum of each gene in each group, of the values or of their squares: shape ``(g, k)``, float64; on the CPU."""
    return _numpy.segment_sums(values, cuts, squared=squared)


def add_excess(
    out: Tensor,
    values: Tensor,
    columns: Tensor,
    indptr: Tensor,
    rows: Tensor,
    groups: Tensor,
    controls: SortedControls,
) -> None:
    """Add to `out` what the stored values of these rows have above a zero in twice U.

    With all rows of all groups added, ``U = (out + sizes · controls.of_zero) / 2``, exactly: all terms are integers, so
    the order of addition does not matter.

    Parameters
    ----------
    out
        Shape ``(k, g)``, int64: groups × genes, changed in place.
    values, columns, indptr
        A CSR matrix with ``g`` columns.
    rows
        Shape ``(n,)``, int64: rows of it.
    groups
        Shape ``(n,)``, int64: the group of each.
    controls
        The controls, sorted.
    """
    if runs_triton(out):
        from pertorch.ops.mann_whitney import _triton

        _triton.add_excess(out, values, columns, indptr, rows, groups, controls)
    else:
        _torch.add_excess(out, values, columns, indptr, rows, groups, controls)


def group_cuts(rows: NDArray[np.integer], indptr: NDArray[np.integer], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each group begins in each column of a CSC matrix whose rows are in group order: `cuts` of the above.

    Parameters
    ----------
    rows, indptr
        Indices and pointers of the CSC matrix, ascending within a column.
    offsets
        Shape ``(k + 1,)``: group ``h`` is rows ``offsets[h]:offsets[h + 1]``.
    """
    cuts = np.empty((len(indptr) - 1, len(offsets)), dtype=np.int64)
    bounds = offsets.astype(rows.dtype)
    for j, start in enumerate(indptr[:-1].tolist()):
        cuts[j] = start + rows[start : indptr[j + 1]].searchsorted(bounds)
    return cuts
