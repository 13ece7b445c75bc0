"""Metrics between centroids of groups: one pass over the cells, then algebra on groups × features in float64."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._base import CHUNK_BYTES, Distances, Metric, over_pairs
from pertorch.metrics._moments import by_groups, fit_batch, group_means
from pertorch.ops.segment import batches

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns


@dataclass(frozen=True)
class CentroidMetric(Metric):
    """A function of two centroids.

    Parameters
    ----------
    agg_fct
        What makes the cells of a group into its centroid: called as ``agg_fct(rows, axis=0)`` with a float64 array,
        cells × features, as ``numpy.median`` is. ``None`` is the mean, for which alone no group is ever made dense.
    """

    agg_fct: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.agg_fct is not None and not callable(self.agg_fct):
            raise ValueError(f"agg_fct={self.agg_fct!r} is not a function: pass one such as numpy.median.")

    @staticmethod
    @abstractmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """Distances of what `prepare` made of the centroids, over the last axis."""

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """What `between` compares, made once a group: shape ``(k, r, p)``, as the centroids themselves."""
        return centroids

    def batch(self, cells: Cells) -> int:
        """See :class:`Metric`."""
        return fit_batch(cells)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        centroids = self._centroids(cells, devices[0], weights)
        cost = torch.full((len(centroids),), 8 * centroids[0].numel())
        some = [centroids[batch] for batch in batches(cost, CHUNK_BYTES[centroids.device.type])]
        points = torch.cat(list(map_threads(self.prepare, some, centroids.device)))
        values = over_pairs(
            pairs, points.device, 8 * points[0].numel(), lambda x, y: self.between(points[x], points[y])
        )
        if tick:
            tick(1)
        return Distances(values)

    def _centroids(self, cells: Cells, device: torch.device, weights: Columns | None) -> Tensor:
        if self.agg_fct is None or self.agg_fct is np.mean:
            return group_means(cells, device, weights)
        return torch.cat(by_groups(cells, device, weights, partial(_aggregates, self.agg_fct)))


def _aggregates(
    agg_fct: Callable[..., Any], cells: Cells, devices: Sequence[torch.device], _: object, weights: Columns | None
) -> Tensor:
    """What another function than the mean makes of the groups, in each replicate: ``(k, r, p)``."""
    replicates = [cells] if weights is None else map(cells.resampled, weights.on(devices[0]).T)
    return torch.stack([_aggregate(agg_fct, replicate) for replicate in replicates], 1).to(devices[0])


def _aggregate(agg_fct: Callable[..., Any], cells: Cells) -> Tensor:
    out = np.empty((len(cells.sizes), cells.n_features))
    for g in range(len(out)):
        centroid = np.asarray(agg_fct(cells.group(g, torch.device("cpu")).double().numpy(), axis=0))
        if centroid.shape != out[g].shape:
            raise ValueError(
                f"agg_fct={agg_fct!r} gave shape {centroid.shape} for {cells.n_features} features: "
                f"pass a function that reduces axis 0, such as numpy.median."
            )
        out[g] = centroid
    return torch.from_numpy(out)


@final
@dataclass(frozen=True)
class Euclidean(CentroidMetric):
    """Euclidean distance of the means."""

    name: ClassVar[str] = "euclidean"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """‖x̄ − ȳ‖."""
        return torch.linalg.vector_norm(x - y, dim=-1)


@final
@dataclass(frozen=True)
class SquaredEuclidean(CentroidMetric):
    """Squared Euclidean distance of the means: ``"mmd"`` with its linear kernel."""

    name: ClassVar[str] = "sqeuclidean"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """‖x̄ − ȳ‖²."""
        return (x - y).square().sum(-1)


@final
@dataclass(frozen=True)
class RootMeanSquaredError(CentroidMetric):
    """Both peers define it as the Euclidean distance of the means, not divided by √p; so do we."""

    name: ClassVar[str] = "root_mean_squared_error"
    between = staticmethod(Euclidean.between)


@final
@dataclass(frozen=True)
class MeanSquaredError(CentroidMetric):
    """Mean squared difference of the means."""

    name: ClassVar[str] = "mse"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """‖x̄ − ȳ‖² / p."""
        return (x - y).square().mean(-1)


@final
@dataclass(frozen=True)
class MeanAbsoluteError(CentroidMetric):
    """Mean absolute difference of the means."""

    name: ClassVar[str] = "mean_absolute_error"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """‖x̄ − ȳ‖₁ / p."""
        return (x - y).abs().mean(-1)
