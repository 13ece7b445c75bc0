"""Metrics that are made of block sums of a kernel over pairs of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.exec import map_devices
from pertorch.metrics._base import REPLICATES, Metric, group_totals
from pertorch.ops.pairwise import KERNELS, Kernel, block_cost, block_sums

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs


@final
@dataclass(frozen=True)
class EDistance(Metric):
    """Energy distance ``2 E‖x−y‖ − E‖x−x'‖ − E‖y−y'‖`` (Székely and Rizzo 2013; Peidli et al. 2024).

    Parameters
    ----------
    estimator
        ``"u"`` divides within-group sums by n(n−1): unbiased, may be negative for groups that are alike. ``"v"``
        divides by n², as pertpy does.
    cell_wise_metric
        Distance between two cells: ``"euclidean"`` or ``"sqeuclidean"``.
    """

    name: ClassVar[str] = "edistance"
    estimator: Literal["u", "v"] = "u"
    cell_wise_metric: Kernel = "euclidean"

    def __post_init__(self) -> None:
        if self.estimator not in ("u", "v"):
            raise ValueError(f"estimator={self.estimator!r} is not one of: 'u', 'v'.")
        if self.cell_wise_metric not in KERNELS:
            raise ValueError(f"cell_wise_metric={self.cell_wise_metric!r} is not one of: {', '.join(KERNELS)}.")

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Pairs of cells, times the passes over them."""
        return int(block_cost(cells.offsets, *_blocks(pairs)[:2]).sum()) * -(-n_replicates // REPLICATES)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Tensor | None,
        tick: Callable[[int], object],
    ) -> NDArray[np.float64]:
        left, right, at_left, at_right = _blocks(pairs)

        def work(device: torch.device, run: slice) -> Tensor:
            return block_sums(
                cells.on(device),
                cells.offsets,
                left[run],
                right[run],
                kernel=self.cell_wise_metric,
                weights=None if weights is None else weights.to(device),
                tick=tick,
            )

        sums = torch.cat(map_devices(devices, lambda: block_cost(cells.offsets, left, right), work))
        n = group_totals(cells, weights)
        between, within = sums[: len(pairs)], sums[len(pairs) :]
        groups = left[len(pairs) :]
        ordered_pairs = n * n if self.estimator == "v" else (n * (n - 1)).clamp_(min=1)  # one cell: 0 / 1
        mean_within = within / ordered_pairs[groups]
        mean_between = between / (n[pairs.left] * n[pairs.right])
        return (2 * mean_between - mean_within[at_left] - mean_within[at_right]).numpy()


def _blocks(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pairs, then each group that occurs with itself; and where each pair finds its two groups among the latter."""
    present = torch.zeros(int(max(pairs.left.max(), pairs.right.max())) + 1 if len(pairs) else 0, dtype=torch.bool)
    present[pairs.left] = present[pairs.right] = True
    groups, position = torch.nonzero(present)[:, 0], present.cumsum(0) - 1
    return (
        torch.cat([pairs.left, groups]),
        torch.cat([pairs.right, groups]),
        position[pairs.left],
        position[pairs.right],
    )
