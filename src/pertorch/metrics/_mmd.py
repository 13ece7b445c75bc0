"""Maximum mean discrepancy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, final

import torch
from torch import Tensor

from pertorch.metrics._base import Metric
from pertorch.metrics._centroid import SquaredEuclidean
from pertorch.metrics._kernel import KernelMetric, PairSums, one_of
from pertorch.ops.pairwise import Kernel

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

MEDIAN_CELLS = 1000  # that the median heuristic looks at: half a million distances


@final
@dataclass(frozen=True)
class MMD(KernelMetric):
    """Squared maximum mean discrepancy, the biased estimate (Gretton et al. 2012).

    Parameters
    ----------
    kernel
        ``"linear"`` (the squared distance of the means), ``"rbf"`` ``exp(−γ d²)`` or ``"poly"``
        ``(γ x·y)^degree``.
    gamma
        γ, or ``"median"``: one over the median squared distance of up to 1,000 of the call's cells, evenly spaced.
    degree
        Of ``"poly"``.
    """

    name: ClassVar[str] = "mmd"
    kernel: Literal["linear", "rbf", "poly"] = "linear"
    gamma: float | Literal["median"] = 1.0
    degree: int = 2

    def __post_init__(self) -> None:
        one_of("kernel", self.kernel, ("linear", "rbf", "poly"))
        if self.gamma != "median" and not (isinstance(self.gamma, int | float) and 0 < self.gamma < float("inf")):
            raise ValueError(f"gamma={self.gamma!r} must be a positive number or 'median'.")
        if not isinstance(self.degree, int) or self.degree < 1:
            raise ValueError(f"degree={self.degree!r} must be a positive whole number.")

    def kappa(self) -> Kernel:
        """κ of a metric that is bound to its data."""
        assert self.kernel != "linear"
        assert self.gamma != "median"
        return Kernel(self.kernel, gamma=self.gamma, degree=self.degree)

    def combine(self, sums: PairSums) -> Tensor:
        """``aa / n² + bb / m² − 2 ab / nm``."""
        n, m = sums.n_left, sums.n_right
        return sums.within_left / (n * n) + sums.within_right / (m * m) - 2 * sums.between / (n * m)

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """As the family that does the work."""
        if self.kernel == "linear":
            return SquaredEuclidean().cost(cells, pairs, n_replicates)
        return super().cost(cells, pairs, n_replicates)

    def bound(self, cells: Cells, device: torch.device) -> Metric:
        """The linear kernel is a distance of means; a median needs the cells."""
        if self.kernel == "linear":
            return SquaredEuclidean()
        return self if self.gamma != "median" else replace(self, gamma=_median_gamma(cells, device))


def _median_gamma(cells: Cells, device: torch.device) -> float:
    n = int(cells.offsets[-1])
    sample = cells.take(torch.linspace(0, n - 1, min(n, MEDIAN_CELLS), device=device).long())
    median = float(torch.pdist(sample.double().cpu()).square_().median())
    if not median > 0:
        raise ValueError("gamma='median': the median distance between cells is 0; give gamma a number.")
    return 1 / median
