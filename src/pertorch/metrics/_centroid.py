"""Metrics between mean vectors of groups: one pass over the cells, then algebra on groups × features in float64."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor

from pertorch.metrics._base import Metric, group_totals
from pertorch.ops.segment import group_sums

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

CHUNK_BYTES = 64 * 2**20  # of one operand of the per-pair algebra


class CentroidMetric(Metric):
    """A function of the two mean vectors."""

    @staticmethod
    @abstractmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """Distances of mean vectors, over the last axis."""

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Tensor | None,
        tick: Callable[[int], object] | None,
    ) -> Tensor:
        rows = cells.on(devices[0])
        n = group_totals(cells, weights).to(rows.device)
        means = group_sums(rows, cells.offsets, weights) / n[:, :, None]
        step = max(1, CHUNK_BYTES // (8 * means[0].numel()))
        values = [
            self.between(means[left], means[right])
            for left, right in zip(
                pairs.left.to(rows.device).split(step), pairs.right.to(rows.device).split(step), strict=True
            )
        ]
        if tick:
            tick(1)
        return torch.cat(values)


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


@final
@dataclass(frozen=True)
class Pearson(CentroidMetric):
    """One minus Pearson's correlation of the means; NaN where a mean vector is constant."""

    name: ClassVar[str] = "pearson_distance"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """1 − r(x̄, ȳ), in [0, 2]."""
        return Cosine.between(_deviations(x), _deviations(y))


@final
@dataclass(frozen=True)
class Cosine(CentroidMetric):
    """One minus the cosine of the means; NaN where a mean vector is zero."""

    name: ClassVar[str] = "cosine_distance"

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """1 − cos(x̄, ȳ), in [0, 2]."""
        norms = torch.linalg.vector_norm(x, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
        return (1 - (x * y).sum(-1) / norms).clamp(0, 2)


@final
@dataclass(frozen=True)
class R2(CentroidMetric):
    """One minus the coefficient of determination, X the truth and Y the prediction: not symmetric."""

    name: ClassVar[str] = "r2_distance"
    symmetric: ClassVar[bool] = False

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """Σ(x̄−ȳ)² / Σ(x̄−mean x̄)²; where x̄ is constant, 0 for an exact match and else 1."""
        residual = (x - y).square().sum(-1)
        spread = _deviations(x).square().sum(-1)
        return torch.where(spread > 0, residual / spread, (residual > 0).double())


def _deviations(x: Tensor) -> Tensor:
    """Differences from the mean over the last axis: exactly 0 for a constant vector, whose mean may round."""
    constant = x.amax(-1, keepdim=True) == x.amin(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)).masked_fill(constant, 0)


CENTROID_METRICS: tuple[type[CentroidMetric], ...] = (
    Euclidean,
    RootMeanSquaredError,
    MeanSquaredError,
    MeanAbsoluteError,
    Pearson,
    Cosine,
    R2,
)
