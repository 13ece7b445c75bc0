"""The markers that ``mixscale`` scores by: over all splits, by guide or by target, against all controls or a part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch.data import open_matrix
from pertorch.stats import uniform
from pertorch.tl._compare import TestMethod, compare
from pertorch.tl._marker_sets import Genes, Given, given_sets
from pertorch.tl._markers import log_base
from pertorch.tl._screen import Screen, Split

if TYPE_CHECKING:
    from anndata import AnnData


@final
class Search(NamedTuple):
    """How to find markers.

    Attributes
    ----------
    method, logfc_threshold, pval_cutoff
        The test and what passes it.
    most
        Markers kept of each test: those of the smallest p.
    guides
        A label per cell: test each guide of a target by itself. ``None`` tests the target.
    share
        Least share of the controls in a test whose controls are spread over the splits as its target's cells are;
        ``None`` tests against all controls.
    seed
        For drawing those controls.
    """

    method: TestMethod
    logfc_threshold: float
    pval_cutoff: float
    most: int
    guides: pd.Series | None = None
    share: float | None = None
    seed: int = 0


def top_markers(
    adata: AnnData, screen: Screen, search: Search, given: Given | None, layer: str | None
) -> list[list[Genes]]:
    """Markers of each target of each split, the same in all splits unless a table of given ones says otherwise."""
    if given is not None:
        return given_sets(given, screen, adata.var_names)
    matrix, base = open_matrix(adata, layer or "X"), log_base(adata)
    tests = _Tests.of(screen, search.guides)
    found: dict[int, dict[int, None]] = {}
    splits = list(_comparisons(screen, search, tests))
    for split, tested in zip(splits, compare(matrix, splits, search.method, base), strict=True):
        passing = tested.passing(search.logfc_threshold, search.pval_cutoff)
        for label, size, (genes, pvals) in zip(split.targets, split.sizes, passing, strict=True):
            if size > 1:
                best = genes[np.argsort(pvals, kind="stable")][: search.most]
                found.setdefault(int(tests.owner[label]), {}).update(dict.fromkeys(best.tolist()))
    sets = {target: np.array(list(genes), dtype=np.int64) for target, genes in found.items()}
    return [[sets.get(int(h), np.empty(0, dtype=np.int64)) for h in split.targets] for split in screen.splits]


@final
class _Tests(NamedTuple):
    """What is tested: label of each cell (−1 takes no part), of the control, and the target each label belongs to."""

    labels: NDArray[np.int64]
    control: int
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, screen: Screen, guides: pd.Series | None) -> _Tests:
        codes = screen.groups.codes
        if guides is None:
            return cls(codes, screen.control, np.arange(len(screen.groups.names)))
        of_target = (codes >= 0) & (codes != screen.control)
        part = pd.factorize(guides)[0]
        of_target &= part >= 0
        pairs = pd.MultiIndex.from_arrays([codes[of_target], part[of_target]])
        which, names = pd.factorize(pairs)
        labels = np.where(codes == screen.control, 0, -1)
        labels[of_target] = which + 1
        return cls(labels, 0, np.array([screen.control, *(target for target, _ in names)], dtype=np.int64))


def _comparisons(screen: Screen, search: Search, tests: _Tests) -> Iterator[Split]:
    labels, control, owner = tests
    everyone = np.arange(len(labels))
    if search.share is None:
        whole = search.guides is None and len(screen.splits) == 1
        yield screen.splits[0] if whole else Split.of(None, everyone, labels, control)
        return
    for target in np.unique(np.delete(owner, control)):
        taken = np.zeros(len(labels), dtype=bool)
        for split, n in zip(screen.splits, _quotas(screen, int(target), search.share), strict=True):
            controls = torch.from_numpy(split.controls)
            key = torch.tensor(int(screen.groups.keys[target]))
            draws = uniform(search.seed, key, torch.tensor(0), controls).numpy()
            taken[split.controls[np.argsort(draws, kind="stable")[:n]]] = True
            if n:
                cells = split.members[owner[labels[split.members]] == target]
                taken[cells[(labels[cells] >= 0) & (labels[cells] != control)]] = True
        yield Split.of(None, everyone[taken], labels, control)


def _quotas(screen: Screen, target: int, share: float) -> list[int]:
    """Controls to take from each split, in proportion to the target's cells there; 0 leaves the split out."""
    cells = np.array([np.count_nonzero(screen.groups.codes[split.members] == target) for split in screen.splits])
    controls = np.array([len(split.controls) for split in screen.splits])
    use = cells > 0
    while True:
        proportion = np.where(use, cells, 0) / cells[use].sum()
        total = (controls[use] / proportion[use]).min()
        if use.sum() == 1 or total >= share * controls.sum():
            return np.floor(total * proportion + 1e-9).astype(int).tolist()
        use[np.flatnonzero(use)[controls[use].argmin()]] = False
