"""Energy distances between groups of cells in 50 dimensions, end to end through the public call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks._registry import Work, case
from benchmarks.workloads import CONTROL, GROUPBY, LINE, drug_screen, embedded_screen
from pertorch import Distance

LINES, TREATMENTS = 50, 1_140  # of Tahoe-100M: 379 drugs in three doses, and the controls
CPU = [(5_000, 25), (20_000, 50), (50_000, 100)]
GPU = [(100_000, 500), (1_000_000, 2_000)]


def relative_difference(ours: Any, peer: Any) -> float:
    """Largest difference of two frames or series, as a fraction of the largest value."""
    peer = peer.loc[ours.index] if ours.ndim == 1 else peer.loc[ours.index, ours.columns]
    return float(np.abs(ours.to_numpy() - peer.to_numpy()).max() / np.abs(ours.to_numpy()).max())


@case("distance_pairwise", sizes=CPU)
def distance_pairwise(n_cells: int, n_groups: int) -> Work:
    """All pairs, with the estimator of pertpy."""
    adata = embedded_screen(n_cells, n_groups)

    def pertpy() -> Callable[[], Any]:
        from pertpy.tools import Distance as Peer

        return partial(Peer("edistance", obsm_key="X_pca").pairwise, adata, groupby=GROUPBY, show_progressbar=False)

    ours = partial(Distance("edistance", estimator="v").pairwise, adata, GROUPBY)
    return Work(ours, pertpy, "pertpy", relative_difference)


def beside_rapids(n_cells: int, n_groups: int, verb: str, *more: Any, comparable: bool = True, **options: Any) -> Work:
    """A verb of Distance with the unbiased estimator, ours and rapids_singlecell's."""
    adata = embedded_screen(n_cells, n_groups)

    def rapids() -> Callable[[], Any]:
        from rapids_singlecell.ptg import Distance as Peer

        return partial(getattr(Peer("edistance"), verb), adata, GROUPBY, *more, **options)

    ours = partial(getattr(Distance("edistance"), verb), adata, GROUPBY, *more, **options)
    return Work(ours, rapids, "rapids-singlecell-cu13", relative_difference if comparable else None)


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
    return beside_rapids(n_cells, n_groups, "onesided_distances", CONTROL)


@case("distance_onesided_bootstrap_gpu", sizes=[(100_000, 500, 100)], device="cuda")
def distance_onesided_bootstrap_gpu(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """Mean and variance over replicates; each package draws its own, so the numbers are not compared."""
    options = {"bootstrap": True, "n_bootstrap": n_bootstrap}
    return beside_rapids(n_cells, n_groups, "onesided_distances", CONTROL, comparable=False, **options)


@case("distance_pairwise_bootstrap_gpu", sizes=[(100_000, 500, 10), (100_000, 500, 100)], device="cuda")
def distance_pairwise_bootstrap_gpu(n_cells: int, n_groups: int, n_bootstrap: int) -> Work:
    """All pairs, resampled."""
    options = {"bootstrap": True, "n_bootstrap": n_bootstrap}
    return beside_rapids(n_cells, n_groups, "pairwise", comparable=False, **options)


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
