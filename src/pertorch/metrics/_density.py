"""Distance of the mean-variance relations of two groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._base import Distances, Metric, Needs
from pertorch.metrics._moments import fit_batch, group_moments

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns

BINS = 100  # of the grid, each way
# Genes, and grid points × genes, at once: on a CPU no more than a core's L2 holds, and so much that threads seldom wait
# for the interpreter between operations (half as much takes 1.15 times as long on two cores).
GENES = {"cpu": 2**10, "cuda": 2**62}
TILE = {"cpu": 2**19, "cuda": 2**26}
FARTHEST = 80.0  # bandwidths: e⁻⁸⁰ is nothing beside any density, and what is smaller slows the processor down


@final
@dataclass(frozen=True)
class MeanVarDistribution(Metric):
    """Mean squared difference of the densities of (ln mean, ln variance) over genes, on a grid that spans both groups.

    Kernel density with an exponential kernel, bandwidth p^(−1/6) for the p genes of a group that have a positive mean
    and variance (Scott 1992); 100 × 100 bins.

    Raises
    ------
    ValueError
        If a group has no gene with positive mean and variance.
    """

    name: ClassVar[str] = "mean_var_distribution"
    needs: ClassVar[Needs] = Needs(left_cells=2, right_cells=2)
    unit: ClassVar[str] = "pairs"

    def batch(self, cells: Cells) -> int:
        """See :class:`Metric`."""
        return fit_batch(cells)

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Pairs, times replicates."""
        del cells
        return len(pairs) * n_replicates

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        pairs, moments = pairs.cpu(), group_moments(cells, devices[0], weights)
        mean, variance = moments.mean, moments.variance
        usable = (mean > 0) & (variance > 0)
        points = torch.stack([mean.log(), variance.log()], -1)
        n_replicates = mean.shape[1]

        present = torch.unique(torch.cat([pairs.left, pairs.right]))
        empty = present[~usable.any(-1).all(-1).cpu()[present]]
        if len(empty):
            raise ValueError(
                f"mean_var_distribution: group {cells.groups.names[int(empty[0])]!r} has no gene with positive mean "
                "and variance: pass expression, not centred or scaled values."
            )

        def distance(task: int) -> float:
            pair, r = divmod(task, n_replicates)
            x, y = (points[g, r][usable[g, r]] for g in (pairs.left[pair], pairs.right[pair]))
            return _squared_difference(x, y, cells.matrix.dtype)

        out = torch.empty(len(pairs) * n_replicates, dtype=torch.float64)
        for task, value in enumerate(map_threads(distance, range(len(out)), devices[0])):
            out[task] = value
            if tick:
                tick(1)
        return Distances(out.reshape(len(pairs), n_replicates).to(devices[0]))


def _squared_difference(x: Tensor, y: Tensor, dtype: torch.dtype) -> float:
    both = torch.cat([x, y])
    low, high = both.amin(0), both.amax(0)
    width = (high - low) / (BINS - 2)  # one empty bin at each end
    centres = low + (torch.arange(BINS, device=x.device)[:, None] - 0.5) * width
    densities = [exponential_density(points, centres, dtype) for points in (x, y)]
    return float((densities[0] - densities[1]).square().mean())


def exponential_density(points: Tensor, grid: Tensor, dtype: torch.dtype) -> Tensor:
    """Kernel density of points in the plane on a rectangular grid.

    Parameters
    ----------
    points
        Shape ``(n, 2)``, float64.
    grid
        Coordinates of its columns and rows, shape ``(b, 2)``, float64.
    dtype
        What it is computed in. In float32, terms err by some 1e-7, to either side, and a density by 1e-8.

    Returns
    -------
    Shape ``(b, b)``, float64: ``Σ_i exp(−|g − x_i| / h) / (2π h² n)`` with ``h = n^(−1/6)``.
    """
    n = len(points)
    bandwidth = n ** (-1 / 6)
    # Each axis by itself, so that all that follows reads memory in order: squared distances in bandwidths.
    across, down = (
        (g[:, None] - p).div_(bandwidth).to(dtype).square_() for g, p in zip(grid.T, points.T.contiguous(), strict=True)
    )
    far = float(across.max()) + float(down.max()) > FARTHEST**2
    out = torch.zeros(len(grid), len(grid), dtype=torch.float64, device=points.device)
    genes = GENES[points.device.type]
    for x, y in zip(across.split(genes, 1), down.split(genes, 1), strict=True):
        y = y.contiguous()
        step = max(1, TILE[points.device.type] // y.numel())
        tile = y.new_empty(min(step, len(grid)), *y.shape)
        for start in range(0, len(grid), step):
            rows = x[start : start + step, None]
            reach = torch.add(rows, y, out=tile[: len(rows)]).sqrt_()
            if far:
                reach.clamp_(max=FARTHEST)
            out[start : start + step] += reach.neg_().exp_().sum(-1)
    return out.div_(2 * torch.pi * bandwidth**2 * n)
