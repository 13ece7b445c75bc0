"""Which genes stand for which target: found by a test, or given."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import nearest, open_matrix
from pertorch.tl._compare import TestMethod, compare
from pertorch.tl._markers import log_base
from pertorch.tl._screen import Screen

if TYPE_CHECKING:
    from anndata import AnnData

Genes = NDArray[np.int64]
Given: TypeAlias = "Mapping[Any, Sequence[str]] | pd.DataFrame"


def marker_sets(
    adata: AnnData,
    screen: Screen,
    given: Given | None,
    layer: str | None,
    test_method: TestMethod,
    *,
    logfc_threshold: float,
    pval_cutoff: float,
) -> list[list[Genes]]:
    """Markers of each target of each split, as positions of genes in ascending order."""
    if given is not None:
        return [[np.sort(genes) for genes in of_split] for of_split in given_sets(given, screen, adata.var_names)]
    matrix, base = open_matrix(adata, layer or "X"), log_base(adata)
    compared = compare(matrix, screen.splits, test_method, base)
    return [[of.genes for of in found.passing(logfc_threshold, pval_cutoff)] for found in compared]


def given_sets(given: Given, screen: Screen, genes: pd.Index) -> list[list[Genes]]:
    """A user's own markers, for each target of each split in their order.

    Raises
    ------
    ValueError
        If a gene is unknown, or a table lacks a column.
    """
    named = _by_target(given, screen)
    lacking = [
        t for t in screen.targets if not any((t, split.name) in named or (t, None) in named for split in screen.splits)
    ]
    if lacking:
        shown = f"{', '.join(map(repr, lacking[:10]))}{f' and {len(lacking) - 10} more' if len(lacking) > 10 else ''}"
        warnings.warn(f"de_genes_by_target has no genes for {shown}: not scored.", UserWarning, stacklevel=4)
    names = screen.groups.names
    return [
        [_positions(named.get((names[h], split.name), named.get((names[h], None), [])), genes) for h in split.targets]
        for split in screen.splits
    ]


def _by_target(given: Given, screen: Screen) -> dict[tuple[Any, Any], list[str]]:
    """Gene names by (target, split); the split is ``None`` where the genes hold for all."""
    if not isinstance(given, pd.DataFrame):
        return {(target, None): list(genes) for target, genes in given.items()}
    missing = [column for column in ("target", "gene") if column not in given.columns]
    if missing:
        raise ValueError(f"de_genes_by_target has no column {missing[0]!r}: {nearest(missing[0], given.columns)}")
    if "split" in given.columns and screen.split_by is not None:
        parts = given.groupby(["target", "split"], sort=False, observed=True)["gene"]
        return {(target, split): list(genes) for (target, split), genes in parts}
    parts = given.groupby("target", sort=False, observed=True)["gene"]
    return {(target, None): list(dict.fromkeys(genes)) for target, genes in parts}


def _positions(wanted: Sequence[str], genes: pd.Index) -> Genes:
    """Columns of these genes; a name that stands for several columns takes them all."""
    unknown = [gene for gene in wanted if gene not in genes]
    if unknown:
        raise ValueError(f"de_genes_by_target names {unknown[0]!r}, not one of var_names: {nearest(unknown[0], genes)}")
    if genes.is_unique:
        return genes.get_indexer(pd.Index(wanted)).astype(np.int64)
    return np.concatenate([np.empty(0, dtype=np.int64), *(np.flatnonzero(genes == gene) for gene in wanted)])
