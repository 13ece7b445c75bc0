"""Bootstrap and permutation of energy distances, end to end through the public call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks._registry import Work, case
from benchmarks.peers import PERTPY, beside
from benchmarks.workloads import CONTROL, GROUPBY, embedded_screen
from pertorch import DistanceTest


def beside_pertpy(n_cells: int, n_groups: int, n_bootstrap: int, verb: str, **more: Any) -> Work:
    """A verb of Distance with bootstrap, ours and pertpy's. Each package draws its own replicates."""
    adata = embedded_screen(n_cells, n_groups)
    options = {"bootstrap": True, "n_bootstrap": n_bootstrap, **more}
    return beside(PERTPY, "edistance", verb, adata, difference=None, **options)


@case("distance_onesided_bootstrap", sizes=[(5_000, 25, 100)])
def distance_onesided_bootstrap(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """Every group against the controls."""
    return beside_pertpy(n_cells, n_groups, n_bootstrap, "onesided_distances", selected_group=CONTROL)


@case("distance_pairwise_bootstrap", sizes=[(5_000, 25, 100)])
def distance_pairwise_bootstrap(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """All pairs."""
    return beside_pertpy(n_cells, n_groups, n_bootstrap, "pairwise")


@case("distance_test", sizes=[(5_000, 25, 1_000)])
@case("distance_test_gpu", sizes=[(100_000, 500, 10_000)], device="cuda")
def distance_test(n_cells: int, n_groups: int, n_perms: int) -> Work:
    """Permutation tests of all groups against the controls. There is no peer on a GPU."""
    adata = embedded_screen(n_cells, n_groups)

    def pertpy() -> Callable[[], Any]:
        from pertpy.tools import DistanceTest as Peer

        test = Peer("edistance", n_perms=n_perms, obsm_key="X_pca")
        return partial(test, adata, groupby=GROUPBY, contrast=CONTROL, show_progressbar=False)

    ours = partial(DistanceTest("edistance", n_perms=n_perms), adata, GROUPBY, CONTROL)
    return Work(ours, pertpy if n_cells <= 50_000 else None, "pertpy")
