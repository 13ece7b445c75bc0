"""Metrics that have no weighted form: each replicate is evaluated on cells drawn as its weights say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.metrics._base import Distances, Metric

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns


class ResampledMetric(Metric):
    """A function of the cells themselves."""

    unit: ClassVar[str] = "pairs"
    by_pairs: ClassVar[bool] = True

    @abstractmethod
    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """Of each pair, shape ``(p,)``."""

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
        pairs, columns = pairs.cpu(), []
        for replicate in [cells] if weights is None else map(cells.resampled, weights.on(devices[0]).T):
            try:
                found = self.values(replicate, pairs, devices[0])
            except ValueError as error:
                raise error if weights is None else ValueError(f"{error} (in a replicate)") from None
            columns.append(found.map(lambda part: part[:, None].to(devices[0])))
            if tick:
                tick(len(pairs))
        return Distances.joined(columns, 1)


class ArrayMetric(ResampledMetric):
    """A function of two arrays of cells: the shortest way to a metric of one's own."""

    @abstractmethod
    def between(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        """Distance of X, shape ``(n, p)``, from Y, shape ``(m, p)``."""

    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """See :class:`ResampledMetric`."""
        del device
        host = torch.device("cpu")
        used = torch.unique(torch.cat([pairs.left, pairs.right])).tolist()
        rows = {g: cells.group(g, host).double().numpy() for g in used}
        both = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
        return Distances(torch.tensor([self.between(rows[x], rows[y]) for x, y in both], dtype=torch.float64))
