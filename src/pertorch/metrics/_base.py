"""What every metric is."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Weights

# Replicates evaluated together: their weights are the columns of one matrix product.
REPLICATES = 128


class Metric(ABC):
    """A distance between two groups of cells. Subclasses are final dataclasses whose fields are the options."""

    name: ClassVar[str]
    symmetric: ClassVar[bool] = True

    def evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Weights | None = None,
        tick: Callable[[int], object] | None = None,
    ) -> torch.Tensor:
        """Distance of each pair in each replicate: ``(p, r)``, float64, on the first device; ``r = 1`` without weights.

        Parameters
        ----------
        cells
            Rows in group order.
        pairs
            Pairs of distinct groups, no pair twice; ``left <= right`` where the metric is symmetric.
        devices
            Where to compute.
        weights
            Replicates of the cells.
        tick
            Called with the cost done, in the unit of `cost`.
        """
        metric = self.bound(cells, devices[0])
        if weights is None:
            return metric._evaluate(cells, pairs, devices, None, tick)
        starts = range(0, weights.n_replicates, REPLICATES)
        chunks = [
            metric._evaluate(
                cells, pairs, devices, weights.columns(s, min(s + REPLICATES, weights.n_replicates), devices[0]), tick
            )
            for s in starts
        ]
        return torch.cat(chunks, 1)

    def bound(self, cells: Cells, device: torch.device) -> Metric:
        """The metric for these cells: options that depend on the data become numbers."""
        del cells, device
        return self

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Steps that the `tick`s of `evaluate` add up to."""
        del cells, pairs
        return -(-n_replicates // REPLICATES)

    @abstractmethod
    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: torch.Tensor | None,
        tick: Callable[[int], object] | None,
    ) -> torch.Tensor:
        """As `evaluate`, for at most `REPLICATES` columns of weights, which lie on the first device."""

    @classmethod
    def options(cls) -> list[str]:
        """Names of the options that the metric takes."""
        return [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def group_totals(cells: Cells, weights: torch.Tensor | None) -> torch.Tensor:
    """Cells, counted with their weights, in each group and replicate: shape ``(k, r)``, float64, where they lie."""
    if weights is None:
        return cells.sizes.double()[:, None]
    return torch.segment_reduce(weights.double(), "sum", lengths=cells.sizes.to(weights.device), axis=0)
