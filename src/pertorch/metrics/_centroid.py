"""Metrics between centroids of groups: one pass over the cells, then algebra on groups × features in float64."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.metrics._base import Metric, Needs, over_pairs
from pertorch.metrics._moments import fit_batch, group_means
from pertorch.ops.ranks import average_ranks, dense_ranks, kendall_tau

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs


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
        weights: Tensor | None,
        tick: Callable[[int], object],
    ) -> NDArray[np.float64]:
        points = self.prepare(self._centroids(cells, devices[0], weights))
        values = over_pairs(
            pairs, points.device, 8 * points[0].numel(), lambda x, y: self.between(points[x], points[y])
        )
        tick(1)
        out: NDArray[np.float64] = values.cpu().numpy()
        return out

    def _centroids(self, cells: Cells, device: torch.device, weights: Tensor | None) -> Tensor:
        if self.agg_fct is None or self.agg_fct is np.mean:
            return group_means(cells, device, weights)
        replicates = [cells] if weights is None else map(cells.resampled, weights.T)
        return torch.stack([self._aggregate(replicate) for replicate in replicates], 1).to(device)

    def _aggregate(self, cells: Cells) -> Tensor:
        assert self.agg_fct is not None
        out = np.empty((len(cells.sizes), cells.n_features))
        for g in range(len(out)):
            centroid = np.asarray(self.agg_fct(cells.group(g, torch.device("cpu")).double().numpy(), axis=0))
            if centroid.shape != out[g].shape:
                raise ValueError(
                    f"agg_fct={self.agg_fct!r} gave shape {centroid.shape} for {cells.n_features} features: "
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


@final
@dataclass(frozen=True)
class Pearson(CentroidMetric):
    """One minus Pearson's correlation of the means; NaN where a mean vector is constant."""

    name: ClassVar[str] = "pearson_distance"
    needs: ClassVar[Needs] = Needs(features=2)

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """Deviations, whose cosine is the correlation."""
        return _deviations(centroids)

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """1 − r(x̄, ȳ), in [0, 2]."""
        return Cosine.between(x, y)


@final
@dataclass(frozen=True)
class Spearman(CentroidMetric):
    """One minus Spearman's rank correlation of the means, ties at their average rank; NaN as for Pearson."""

    name: ClassVar[str] = "spearman_distance"
    needs: ClassVar[Needs] = Needs(features=2)

    @staticmethod
    def prepare(centroids: Tensor) -> Tensor:
        """Deviations of the ranks."""
        return _deviations(average_ranks(centroids))

    @staticmethod
    def between(x: Tensor, y: Tensor) -> Tensor:
        """1 − ρ(x̄, ȳ), in [0, 2]."""
        return Cosine.between(x, y)


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


CENTROID_METRICS: tuple[type[CentroidMetric], ...] = (
    Euclidean,
    RootMeanSquaredError,
    MeanSquaredError,
    MeanAbsoluteError,
    Pearson,
    Spearman,
    KendallTau,
    Cosine,
    R2,
)
