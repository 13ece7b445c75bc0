"""Entropic optimal transport, end to end through the public call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks._registry import Work, case
from benchmarks.peers import PERTPY, RAPIDS, beside
from benchmarks.workloads import CONTROL, embedded_screen
from pertorch import Distance

METRIC = "wasserstein"


@case("wasserstein_onesided", sizes=[(5_000, 25), (20_000, 50)])
def wasserstein_onesided(n_cells: int, n_groups: int) -> Work:
    """Every group against the controls. The peer compiles on its first call."""
    adata = embedded_screen(n_cells, n_groups)
    return beside(PERTPY, METRIC, "onesided_distances", adata, selected_group=CONTROL)


@case("wasserstein_pairwise_gpu", sizes=[(36_000, 79)], device="cuda")
def wasserstein_pairwise_gpu(n_cells: int, n_groups: int) -> Work:
    """All pairs: 3,081 of about 456 cells."""
    return beside(RAPIDS, METRIC, "pairwise", embedded_screen(n_cells, n_groups))


@case("wasserstein_onesided_gpu", sizes=[(40_000, 80)], device="cuda")
def wasserstein_onesided_gpu(n_cells: int, n_groups: int) -> Work:
    """Every group against the controls, a tenth of the cells."""
    adata = embedded_screen(n_cells, n_groups)
    return beside(RAPIDS, METRIC, "onesided_distances", adata, selected_group=CONTROL)


@case("wasserstein_pair_gpu", sizes=[(20_000, 20_000), (100_000, 100_000)], device="cuda")
def wasserstein_pair_gpu(n: int, m: int) -> Work:
    """Two large clouds in 50 dimensions, on the device.

    The peer gets our ε, full float32, and the fewest iterations, in fives, after which ten more change its value by
    less than 1e-6, which is how near ours is. They are found before the clock starts.
    """
    generator = torch.Generator("cuda").manual_seed(0)
    spectrum = 10 / torch.arange(1, 51, device="cuda").sqrt()
    x, y = (torch.randn(size, 50, device="cuda", generator=generator) * spectrum for size in (n, m))
    y += 0.3 * spectrum

    def flash_sinkhorn() -> Callable[[], Any]:
        from flash_sinkhorn import SamplesLoss

        from pertorch.solvers.sinkhorn import Clouds, costs

        clouds = Clouds.of(torch.cat([x, y]), torch.tensor([0, n, n + m]))
        epsilon = float(costs(clouds, *torch.tensor([[0], [1]], device="cuda")).epsilon())

        def after(n_iters: int) -> Callable[[], float]:
            loss = SamplesLoss(
                backend="alternating", use_epsilon_scaling=False, eps=epsilon, n_iters=n_iters, allow_tf32=False
            )
            return lambda: float(loss(x, y))

        n_iters = 20
        while abs(after(n_iters)() / after(n_iters + 10)() - 1) > 1e-6:
            n_iters += 5
        print(f"flash_sinkhorn: {n_iters} iterations at epsilon {epsilon:.4g}", flush=True)
        return after(n_iters)

    ours = partial(Distance(METRIC), x, y)
    peer = flash_sinkhorn if n * m <= 10**9 else None
    return Work(ours, peer, "flash-sinkhorn", lambda a, b: float(np.abs(a / b - 1)))
