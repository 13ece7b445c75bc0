"""From raw counts to principal components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.data import obs_column, open_matrix

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS_PER_CELL = 10_000.0
N_PCS = 50
LARGEST_LOG = 30.0  # no logarithm of an expression value reaches it, whatever the base
COVARIANCE_GENES = 5_000  # up to here genes × genes in float64 is small and its eigenvectors exact: beyond, ARPACK
SLAB_BYTES = 64 * 2**20

Kind = Literal["counts", "log-normalised", "scaled"]


@dataclass(frozen=True)
class Expression:
    """What an embedding is made from, read and checked.

    Attributes
    ----------
    values
        Cells × genes that were kept, CSR.
    kind
        ``"counts"`` (whole numbers), ``"log-normalised"`` (fractions, small) or ``"scaled"`` (some negative).
    totals
        Counts of each cell, float64; of all genes in the file where they are summed. None unless counts.
    kept
        Which genes of the file these are.
    notes
        What was read, in words.
    """

    values: sp.csr_array
    kind: Kind
    totals: NDArray[np.float64] | None
    kept: NDArray[np.bool_]
    notes: tuple[str, ...]


def read_expression(
    adata: AnnData, layer: str | None = None, total_counts: str | None = None, exclude: Sequence[str] = ()
) -> Expression:
    """Read what an embedding is made from.

    Parameters
    ----------
    adata
        Annotated data.
    layer
        Key in ``adata.layers``; ``None`` is ``adata.X``.
    total_counts
        Column of ``adata.obs`` with the counts of each cell over the whole transcriptome. ``None``: the sums over
        all genes in `adata`, the excluded ones included.
    exclude
        Shell-style patterns of gene names to leave out.

    Raises
    ------
    KeyError
        If the layer or the column does not exist.
    ValueError
        If the values are neither counts nor log-normalised nor scaled, hold NaN or infinity, or are all zero; if a
        total is not positive, or totals are given for what is no counts; or if no gene is left.
    """
    matrix = open_matrix(adata, layer_key=layer or "X")
    given = None if total_counts is None else _given_totals(adata, total_counts)
    kept = _kept(adata, exclude)
    values = matrix.counts()
    kind = _kind(values, matrix.name)
    chosen = values if kept.all() else values[:, kept]
    notes = [f"{matrix.name}: {values.shape[0]:,} cells × {values.shape[1]:,} genes, {_ABOUT[kind]}"]
    if exclude:
        notes.append(f"left out {int((~kept).sum()):,} genes that match {', '.join(exclude)}")
    if kind != "counts":
        if given is not None:
            raise ValueError(f"{matrix.name} is {kind}, so that totals from {total_counts!r} do not apply: {_COUNTS}")
        return Expression(chosen, kind, None, kept, tuple(notes))
    totals = values.sum(1).astype(np.float64) if given is None else given
    notes.append(f"normalised to {COUNTS_PER_CELL:,.0f} counts a cell (total: {total_counts or 'summed'}), log1p")
    return Expression(chosen, kind, totals, kept, tuple(notes))


def embed(
    adata: AnnData,
    *,
    layer: str | None = None,
    total_counts: str | None = None,
    exclude: Sequence[str] = (),
    n_pcs: int = N_PCS,
    note: Callable[[str], object] = lambda _: None,
) -> NDArray[np.float64]:
    """Principal components of log-normalised expression: see :func:`read_expression`, which says what can be wrong.

    `note` is told what was done, once nothing can be wrong any more.
    """
    read = read_expression(adata, layer, total_counts, exclude)
    for line in read.notes:
        note(line)
    values = read.values if read.totals is None else log_normalise(read.values, read.totals)
    scores = principal_components(values, n_pcs)
    note(f"{scores.shape[1]} principal components of {values.shape[1]:,} genes")
    return scores


def log_normalise(counts: sp.csr_array, totals: NDArray[np.float64]) -> sp.csr_array:
    """``log1p(counts · 10,000 / total)`` in float64; a cell without counts stays zero."""
    scale = np.divide(COUNTS_PER_CELL, totals, out=np.zeros_like(totals), where=totals > 0)
    data = np.repeat(scale, np.diff(counts.indptr))  # the one copy
    data *= counts.data
    np.log1p(data, out=data)
    return sp.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def principal_components(values: sp.csr_array, n_comps: int) -> NDArray[np.float64]:
    """Scores of the first components, cells × components, in float64; the same on every run.

    Up to `COVARIANCE_GENES` genes the eigenvectors of their covariance, exact to rounding; beyond, ARPACK through
    scikit-learn, without ever centring the sparse matrix. The largest loading of each component is positive. There
    are at most as many components as genes, and fewer than cells.
    """
    n_cells, n_genes = values.shape
    n_comps = min(n_comps, n_cells - 1, n_genes)
    if n_genes <= COVARIANCE_GENES:
        loadings = np.linalg.eigh(_covariance(values))[1][:, ::-1][:, :n_comps]
    else:
        from sklearn.decomposition import PCA

        loadings = PCA(n_comps, svd_solver="arpack", random_state=0).fit(values.astype(np.float64)).components_.T
    largest = np.abs(loadings).argmax(0)
    loadings = loadings * np.sign(loadings[largest, np.arange(loadings.shape[1])])
    scores: NDArray[np.float64] = values @ loadings
    scores -= _mean(values) @ loadings
    return scores


def _mean(values: sp.csr_array) -> NDArray[np.float64]:
    """Of each gene; scipy's own copies the matrix twice."""
    mean: NDArray[np.float64] = np.ones(values.shape[0]) @ values / values.shape[0]
    return mean


def _covariance(values: sp.csr_array) -> NDArray[np.float64]:
    """Genes × genes, float64, from dense slabs of centred cells: BLAS outruns a sparse product at these densities."""
    n_cells, n_genes = values.shape
    mean = _mean(values)
    out = np.zeros((n_genes, n_genes), order="F")
    step = max(1, SLAB_BYTES // (8 * n_genes))
    for start in range(0, n_cells, step):
        slab = values[start : start + step].toarray().astype(np.float64, copy=False) - mean
        out = scipy.linalg.blas.dsyrk(1 / (n_cells - 1), slab.T, 1.0, out, overwrite_c=True, lower=True)
    return out


_COUNTS = "name a layer of raw counts with --counts."
_ABOUT = {
    "counts": "raw counts",
    "log-normalised": "log-normalised already, taken as it is",
    "scaled": "scaled already (some values are negative), taken as it is",
}


def _kind(values: sp.csr_array, name: str) -> Kind:
    data = values.data
    if not data.size:
        raise ValueError(f"{name} holds no counts, only zeros: {_COUNTS}")
    largest, smallest = float(data.max()), float(data.min())
    if not np.isfinite([largest, smallest]).all():
        raise ValueError(f"{name} holds NaN or infinity: remove those cells or impute the values.")
    whole = data.dtype.kind in "iub" or not np.any(data != np.rint(data))
    if whole and smallest >= 0:
        return "counts"
    if smallest < 0:
        return "scaled"
    if largest <= LARGEST_LOG:
        return "log-normalised"
    raise ValueError(f"{name} holds fractions up to {largest:,.0f}, neither raw counts nor their logarithm: {_COUNTS}")


def _given_totals(adata: AnnData, column: str) -> NDArray[np.float64]:
    labels = obs_column(adata, column)
    if labels.dtype.kind not in "iuf":
        raise ValueError(f"obs column {column!r} holds {labels.dtype}, not numbers: name a column of total counts.")
    totals = labels.to_numpy(np.float64)
    bad = np.flatnonzero(~(np.isfinite(totals) & (totals > 0)))
    if bad.size:
        raise ValueError(
            f"obs column {column!r} is not above 0 in {bad.size:,} cells, the first {adata.obs_names[bad[0]]!r}: "
            "remove those cells, or leave the totals to be summed."
        )
    return totals


def _kept(adata: AnnData, exclude: Sequence[str]) -> NDArray[np.bool_]:
    kept = np.array([not any(fnmatchcase(name, pattern) for pattern in exclude) for name in adata.var_names])
    if not kept.any():
        raise ValueError(f"--exclude-genes {' '.join(exclude)} leaves none of {len(kept):,} genes: exclude fewer.")
    return kept
