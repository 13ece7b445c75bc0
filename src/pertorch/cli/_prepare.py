"""From a file's expression to what distances and Mixscape compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from pertorch.cli._console import CliError
from pertorch.cli._embedding import N_PCS, Expression, log_normalise, principal_components, read_expression
from pertorch.data import DEFAULT_EMBEDDING, nearest

if TYPE_CHECKING:
    from anndata import AnnData


class Prepared(NamedTuple):
    """What analyses read.

    Attributes
    ----------
    work
        Log-normalised expression in memory, float32, with the labels, and the embedding as ``obsm["X_pca"]``.
    read
        What it was made from.
    key
        Key of the embedding in the file; None where it was made here.
    """

    work: AnnData
    read: Expression
    key: str | None


def prepare(
    adata: AnnData,
    *,
    layer: str | None = None,
    total_counts: str | None = None,
    exclude: Sequence[str] = (),
    obsm: str | None = None,
    n_pcs: int | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> Prepared:
    """Normalise what are counts, and make principal components where the file has none, or a number is asked for.

    Parameters
    ----------
    adata
        Annotated data; not changed.
    layer, total_counts, exclude
        See :func:`read_expression`.
    obsm
        Key of an embedding to take; ``None`` takes ``X_pca`` where there is one and `n_pcs` asks for no other.
    n_pcs
        Principal components to make.
    note
        Is told what was done.

    Raises
    ------
    CliError
        If there is no such embedding, or the expression is scaled, which Mixscape cannot compare.
    KeyError, ValueError
        As :func:`read_expression`.
    """
    from anndata import AnnData

    if obsm is not None and obsm not in adata.obsm:
        raise CliError(f"obsm key {obsm!r} not found: {nearest(obsm, adata.obsm)}")
    read = read_expression(adata, layer, total_counts, exclude)
    if read.kind == "scaled":
        raise CliError("Mixscape compares log-normalised expression, not scaled: name a layer with --counts.")
    for line in read.notes:
        note(line)
    values = read.values if read.totals is None else log_normalise(read.values, read.totals)
    key = obsm or next((key for key in DEFAULT_EMBEDDING if key in adata.obsm and n_pcs is None), None)
    space = principal_components(values, n_pcs or N_PCS) if key is None else adata.obsm[key]
    note(f"neighbours in {key}" if key else f"neighbours in {space.shape[1]} principal components, made here")
    kept = pd.DataFrame(index=adata.var_names[read.kept])
    single = sp.csr_array((values.data.astype(np.float32), values.indices, values.indptr), shape=values.shape)
    del values
    work = AnnData(single, obs=adata.obs.copy(), var=kept, obsm={"X_pca": space})
    return Prepared(work, read, key)
