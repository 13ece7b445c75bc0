"""Classifiers between groups, end to end through the public call."""

from __future__ import annotations

from functools import partial
from typing import Any

import anndata as ad

from benchmarks._registry import Work, case
from benchmarks.peers import PERTPY, beside
from benchmarks.workloads import CONTROL, embedded_screen


def beside_pertpy(metric: str, verb: str, n_cells: int, n_groups: int, **more: Any) -> Work:
    """pertpy draws other cells to hold out, so that the numbers are not compared."""
    adata = embedded_screen(n_cells, n_groups)
    adata = ad.AnnData(adata.obsm["X_pca"], obs=adata.obs, obsm=adata.obsm)  # pertpy's classifier_cp looks in X
    return beside(PERTPY, metric, verb, adata, difference=None, **more)


@case("classifier_proba_pairwise", sizes=[(5_000, 25)])
def classifier_proba_pairwise(n_cells: int, n_groups: int) -> Work:
    """All pairs: ours both ways, pertpy's one way, the other half mirrored though the metric is not symmetric."""
    return beside_pertpy("classifier_proba", "pairwise", n_cells, n_groups)


for _metric in ("classifier_proba", "classifier_cp"):
    case(f"{_metric}_onesided", sizes=[(5_000, 25)])(
        partial(beside_pertpy, _metric, "onesided_distances", selected_group=CONTROL)
    )
