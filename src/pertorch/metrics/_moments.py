"""Metrics of means and variances, gene by gene; and how moments are had from cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._base import REPLICATES, Distances, Metric, Needs, group_totals, over_pairs
from pertorch.ops import segment
from pertorch.ops.segment import Moments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pertorch.data import Cells, Pairs, Slab
    from pertorch.stats import Columns

R = TypeVar("R")
BATCH_BYTES = 256 * 2**20  # of one moment of all groups in the replicates evaluated together
# Reduced at once: on a CPU by each thread, and so much that it stays in the core's cache.
ENTRIES = {"cpu": 2**17, "cuda": 2**62}
ALONE = 2**22  # entries, times replicates, that one thread reduces sooner than several are called
EPSILON = 1e-8  # what pertpy adds to a standard deviation (sym_kldiv) or a variance (t_test)


def fit_batch(cells: Cells) -> int:
    """Replicates whose moments are held at once."""
    return max(1, min(REPLICATES, BATCH_BYTES // max(1, 8 * len(cells.sizes) * cells.n_features)))


def group_means(cells: Cells, device: torch.device, weights: Columns | None) -> Tensor:
    """Means of the groups, shape ``(k, r, p)``, float64, on `device`."""
    if not cells.is_near and weights is None:
        sums = cells.reduce_slabs(_sums_of_slab, segment.merge_sums).sums.to(device)
    else:
        sums = _reduce(cells, device, weights, segment.group_sums, segment.csr_group_sums)
    return sums.div_(group_totals(cells, weights, device)[:, :, None])


def group_moments(cells: Cells, device: torch.device, weights: Columns | None) -> Moments:
    """Means and variances of the groups, in one pass over the cells."""
    if not cells.is_near and weights is None:
        found = cells.reduce_slabs(_moments_of_slab, segment.merge_moments).moments
        return Moments(*(moment.to(device) for moment in found))
    return _reduce(cells, device, weights, segment.group_moments, segment.csr_group_moments)


# Of rows in the order of storage, whatever their group: one pass over a file, or tasks of Dask.
def _sums_of_slab(slab: Slab, codes: NDArray[np.int64]) -> segment.PartialSums:
    return segment.chunk_sums(slab.rows, codes)


def _moments_of_slab(slab: Slab, codes: NDArray[np.int64]) -> segment.PartialMoments:
    return segment.chunk_moments(slab.rows, codes)


def _reduce(
    cells: Cells, device: torch.device, weights: Columns | None, dense: Callable[..., Any], sparse: Callable[..., Any]
) -> Any:
    """A reduction of the groups, in runs of them that fit in memory."""
    return segment.join(by_groups(cells, device, weights, partial(_reduced, dense, sparse)))


def by_groups(cells: Cells, device: torch.device, weights: Columns | None, work: Callable[..., R]) -> list[R]:
    """``work(cells, devices, None, weights)`` of runs of groups: see :meth:`Cells.map`."""
    if cells.is_near:
        return [work(cells, [device], None, weights)]
    shares = cells.group_shares()
    return cells.map(shares, work, [(weights and weights.part(share.groups),) for share in shares], [device])


def _reduced(
    dense: Callable[..., Any],
    sparse: Callable[..., Any],
    cells: Cells,
    devices: Sequence[torch.device],
    _: object,
    weights: Columns | None,
) -> Any:
    """A reduction of a few groups at a time, joined over all of them.

    Stored entries are added up as they are on the host; a GPU, and many columns of weights, had rather a dense product.
    """
    device = devices[0]
    as_stored = cells.matrix.is_sparse and device.type == "cpu" and weights is None

    def work(groups: slice) -> Any:
        offsets = cells.offsets[groups.start : groups.stop + 1]
        start, stop = int(offsets[0]), int(offsets[-1])
        if as_stored:
            return sparse(cells.csr_rows(start, stop), offsets - start)
        slabs = ((at - start, rows) for at, rows in cells.slabs(device, groups))
        return dense(slabs, offsets - start, None if weights is None else weights.of(groups, device))

    cost = cells.sizes.double() * (cells.matrix.entries_per_row if as_stored else cells.n_features)
    total = float(cost.sum()) * (1 if weights is None else weights.n_replicates)
    runs = segment.batches(cost, ENTRIES[device.type])
    shared = [[run] for run in runs] if total > ALONE else [runs]
    parts = map_threads(lambda some: [work(run) for run in some], shared, device)
    return segment.join([part for some in parts for part in some])


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
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        moments = group_moments(cells, devices[0], weights)

        def between(x: Tensor, y: Tensor) -> Tensor:
            return self.between(Moments(*(m[x] for m in moments)), Moments(*(m[y] for m in moments)))

        values = over_pairs(pairs, moments.mean.device, 8 * moments.mean[0].numel(), between)
        if tick:
            tick(1)
        return Distances(values)


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
