"""Distances on sparse expression, end to end through the public call: every group against the controls."""

from __future__ import annotations

from functools import partial

from benchmarks._registry import Work, case
from benchmarks.peers import PERTPY, RAPIDS, beside
from benchmarks.workloads import CONTROL, GROUPBY, expression_screen
from pertorch import Distance

SIZES = [(5_000, 25, 2_000)]
METRICS = ["t_test", "sym_kldiv", "mean_var_distribution", "mmd", "ks_test", "nb_ll"]


def beside_pertpy(metric: str, n_cells: int, n_groups: int, n_genes: int) -> Work:
    """A metric of log1p expression, or of counts, as CSR."""
    adata = expression_screen(n_cells, n_groups, n_genes)
    adata.layers["log1p"] = adata.X
    layer = "counts" if metric == "nb_ll" else "log1p"
    return beside(PERTPY, metric, "onesided_distances", adata, stored={"layer_key": layer}, selected_group=CONTROL)


for _metric in METRICS:
    case(f"expression_{_metric}", sizes=SIZES)(partial(beside_pertpy, _metric))


@case("expression_edistance", sizes=[(5_000, 25, 2_000)])
def expression_edistance(n_cells: int, n_groups: int, n_genes: int) -> Work:
    """Energy distance; pertpy takes no sparse matrix there."""
    adata = expression_screen(n_cells, n_groups, n_genes)
    return Work(partial(Distance("edistance", layer_key="X").onesided_distances, adata, GROUPBY, CONTROL))


@case("expression_edistance_gpu", sizes=[(50_000, 100, 5_000)], device="cuda")
def expression_edistance_gpu(n_cells: int, n_groups: int, n_genes: int) -> Work:
    """Energy distance, the matrix in the host's memory."""
    adata = expression_screen(n_cells, n_groups, n_genes)
    return beside(RAPIDS, "edistance", "onesided_distances", adata, stored={"layer_key": "X"}, selected_group=CONTROL)
