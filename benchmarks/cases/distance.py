"""Energy distances between groups of cells in 50 dimensions, end to end through the public call."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks._registry import Work, case
from benchmarks.peers import PERTPY, RAPIDS, beside, relative_difference
from benchmarks.workloads import CONTROL, GROUPBY, LINE, drug_screen, embedded_screen
from pertorch import Distance

LINES, TREATMENTS = 50, 1_140  # of Tahoe-100M: 379 drugs in three doses, and the controls
CPU = [(5_000, 25), (20_000, 50), (50_000, 100)]
GPU = [(100_000, 500), (1_000_000, 2_000)]


@case("distance_pairwise", sizes=CPU)
def distance_pairwise(n_cells: int, n_groups: int) -> Work:
    """All pairs, with the estimator of pertpy."""
    return beside(PERTPY, "edistance", "pairwise", embedded_screen(n_cells, n_groups), ours={"estimator": "v"})


def beside_rapids(n_cells: int, n_groups: int, verb: str, **options: Any) -> Work:
    """A verb of Distance with the unbiased estimator, ours and rapids_singlecell's."""
    return beside(RAPIDS, "edistance", verb, embedded_screen(n_cells, n_groups), **options)


@case("distance_pairwise_gpu", sizes=GPU, device="cuda")
def distance_pairwise_gpu(n_cells: int, n_groups: int) -> Work:
    """All pairs."""
    return beside_rapids(n_cells, n_groups, "pairwise")


@case("distance_pairwise_two_gpus", sizes=[(1_000_000, 2_000)], device="cuda")
def distance_pairwise_two_gpus(n_cells: int, n_groups: int) -> Work:
    """All pairs on two GPUs of one host beside the same call on one of them: the difference should be 0."""
    adata = embedded_screen(n_cells, n_groups)
    call = partial(Distance("edistance").pairwise, adata, GROUPBY)
    return Work(partial(call, multi_gpu=[0, 1]), lambda: partial(call, multi_gpu=[0]), "pertorch", relative_difference)


@case("distance_onesided_gpu", sizes=GPU, device="cuda")
def distance_onesided_gpu(n_cells: int, n_groups: int) -> Work:
    """Every group against the controls, a tenth of the cells."""
    return beside_rapids(n_cells, n_groups, "onesided_distances", selected_group=CONTROL)


@case("distance_onesided_bootstrap_gpu", sizes=[(100_000, 500, 100)], device="cuda")
def distance_onesided_bootstrap_gpu(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """Mean and variance over replicates; each package draws its own, so the numbers are not compared."""
    options = {"selected_group": CONTROL, "bootstrap": True, "n_bootstrap": n_bootstrap}
    return beside_rapids(n_cells, n_groups, "onesided_distances", difference=None, **options)


@case("distance_pairwise_bootstrap_gpu", sizes=[(100_000, 500, 10), (100_000, 500, 100)], device="cuda")
def distance_pairwise_bootstrap_gpu(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """All pairs, resampled."""
    options = {"bootstrap": True, "n_bootstrap": n_bootstrap}
    return beside_rapids(n_cells, n_groups, "pairwise", difference=None, **options)


@case("distance_contrasts", sizes=[(1_000_000, LINES, TREATMENTS)])
def distance_contrasts(n_cells: int, n_lines: int, n_treatments: int) -> Work:
    """Every treatment of every cell line against the controls of that line, from the AnnData on."""
    adata, distance = drug_screen(n_cells, n_lines, n_treatments), Distance("edistance")

    def ours() -> Any:
        contrasts = distance.create_contrasts(adata, GROUPBY, CONTROL, split_by=LINE)
        return distance.contrast_distances(adata, contrasts)

    return Work(ours)


@case(
    "distance_contrasts_gpu", sizes=[(10_000_000, LINES, TREATMENTS), (100_000_000, LINES, TREATMENTS)], device="cuda"
)
def distance_contrasts_gpu(n_cells: int, n_lines: int, n_treatments: int) -> Work:
    """The same."""
    return distance_contrasts(n_cells, n_lines, n_treatments)
