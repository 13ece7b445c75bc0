"""Metrics of how alike two mean vectors run: correlations, cosine, coefficient of determination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from pertorch.metrics._base import Needs
from pertorch.metrics._centroid import CentroidMetric
from pertorch.ops.ranks import average_ranks, dense_ranks, kendall_tau


class _Correlation(CentroidMetric):
    """One minus the cosine of deviations, which `prepare` makes of the means."""

    needs: ClassVar[Needs] = Needs(features=2)

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """One minus the correlation, in [0, 2]."""
        return Cosine.between(x, y)


@final
@dataclass(frozen=True)
class Pearson(_Correlation):
    """One minus Pearson's correlation of the means; NaN where a mean vector is constant."""

    name: ClassVar[str] = "pearson_distance"

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """Deviations, whose cosine is the correlation."""
        return _deviations(centroids)


@final
@dataclass(frozen=True)
class Spearman(_Correlation):
    """One minus Spearman's rank correlation of the means, ties at their average rank; NaN as for Pearson."""

    name: ClassVar[str] = "spearman_distance"

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """Deviations of the ranks."""
        return _deviations(average_ranks(centroids))


@final
@dataclass(frozen=True)
class KendallTau(CentroidMetric):
    """Kendall's tau-b of the means as a number of discordant pairs of features; NaN as for Pearson."""

    name: ClassVar[str] = "kendalltau_distance"
    needs: ClassVar[Needs] = Needs(features=2)

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """Ranks, equal values sharing one."""
        return dense_ranks(centroids)

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """(1 − τ_b) · p(p − 1) / 4: without ties, how many pairs of features x̄ and ȳ put in different order."""
        n_features = x.shape[-1]
        return (1 - kendall_tau(x, y)) * (n_features * (n_features - 1) / 4)


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
