"""Metrics of means and variances, gene by gene; and how moments are had from cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor

from pertorch.metrics._base import REPLICATES, Metric, Needs, over_pairs
from pertorch.ops import segment
from pertorch.ops.segment import Moments

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

BATCH_BYTES = 256 * 2**20  # of one moment of all groups in the replicates evaluated together
EPSILON = 1e-8  # what pertpy adds to a standard deviation (sym_kldiv) or a variance (t_test)


def fit_batch(cells: Cells) -> int:
    """Replicates whose moments are held at once."""
    return max(1, min(REPLICATES, BATCH_BYTES // max(1, 8 * len(cells.sizes) * cells.n_features)))


def group_means(cells: Cells, device: torch.device, weights: Tensor | None) -> Tensor:
    """Means of the groups, shape ``(k, r, p)``, float64, on `device`."""
    n = segment.group_weights(cells.offsets, weights).to(device)
    if _directly(cells, device, weights):
        return segment.csr_group_sums(cells.csr, cells.offsets) / n
    return segment.group_sums(cells.slabs(device), cells.offsets, weights) / n


def group_moments(cells: Cells, device: torch.device, weights: Tensor | None) -> Moments:
    """Means and variances of the groups, in one pass over the cells."""
    if _directly(cells, device, weights):
        return segment.csr_group_moments(cells.csr, cells.offsets)
    return segment.group_moments(cells.slabs(device), cells.offsets, weights)


def _directly(cells: Cells, device: torch.device, weights: Tensor | None) -> bool:
    """Whether to add up stored entries, on the host: a GPU, or many columns of weights, had rather a dense product."""
    return cells.matrix.is_sparse and device.type == "cpu" and weights is None


class MomentMetric(Metric):
    """A function of the means and variances of two groups."""

    needs: ClassVar[Needs] = Needs(left_cells=2, right_cells=2)

    @staticmethod
    @abstractmethod
    def between(x: Moments, y: Moments) -> Tensor:
        """Distances, over the last axis."""

    def batch(self, cells: Cells) -> int:
        """See :class:`Metric`."""
        return fit_batch(cells)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Tensor | None,
        tick: Callable[[int], object] | None,
    ) -> Tensor:
        moments = group_moments(cells, devices[0], weights)

        def between(x: Tensor, y: Tensor) -> Tensor:
            return self.between(Moments(*(m[x] for m in moments)), Moments(*(m[y] for m in moments)))

        values = over_pairs(pairs, moments.mean.device, 8 * moments.mean[0].numel(), between)
        if tick:
            tick(1)
        return values


@final
@dataclass(frozen=True)
class SymmetricKL(MomentMetric):
    """Divergence (Kullback and Leibler 1951), both ways added, of normals fitted to each gene; mean over genes.

    Standard deviations are divided by n (ddof 0), plus 1e-8 so that a constant gene counts.
    """

    name: ClassVar[str] = "sym_kldiv"

    @staticmethod
    def between(x: Moments, y: Moments) -> Tensor:
        """KL(X‖Y) + KL(Y‖X), in which the logarithms cancel."""
        square = (x.mean - y.mean).square_()
        vx, vy = ((m.variance.sqrt() + EPSILON).square_() for m in (x, y))
        return ((vx + square) / vy + (vy + square) / vx).mean(-1) / 2 - 1


@final
@dataclass(frozen=True)
class WelchT(MomentMetric):
    """Mean over genes of the absolute t statistic for unequal variances (Welch 1947), 1e-8 added to each variance."""

    name: ClassVar[str] = "t_test"

    @staticmethod
    def between(x: Moments, y: Moments) -> Tensor:
        """Mean of |x̄ − ȳ| / √(s²_x / n + s²_y / m), with ddof 1."""
        error = _squared_error(x) + _squared_error(y)
        return ((x.mean - y.mean).abs_() / error.sqrt_()).mean(-1)


def _squared_error(m: Moments) -> Tensor:
    """Squared standard error of the mean."""
    return (m.variance * (m.n / (m.n - 1)) + EPSILON) / m.n
