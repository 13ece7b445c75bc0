"""Metrics that are made of block sums of a kernel over pairs of cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, final, get_args

import torch
from torch import Tensor

from pertorch.exec import map_devices
from pertorch.metrics._bands import cell_block_sums
from pertorch.metrics._base import REPLICATES, Distances, Metric, group_totals
from pertorch.ops.pairwise import Kernel, block_cost

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns

CellWise = Literal["euclidean", "sqeuclidean", "cosine"]


@final
class PairSums(NamedTuple):
    """Sums of κ over all ordered pairs of cells, and cells: each of shape ``(p, r)``, float64."""

    between: Tensor
    within_left: Tensor
    within_right: Tensor
    n_left: Tensor
    n_right: Tensor


class KernelMetric(Metric):
    """A function of the block sums of two groups with each other and with themselves."""

    uses_within: ClassVar[bool] = True
    unit: ClassVar[str] = "pairs of cells"

    @abstractmethod
    def kappa(self) -> Kernel:
        """κ."""

    @abstractmethod
    def combine(self, sums: PairSums) -> Tensor:
        """The distance, shape ``(p, r)``."""

    def prepare(self, rows: Tensor) -> Tensor:
        """The rows that κ is evaluated on."""
        return rows

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Pairs of cells, times the passes over them."""
        left, right, *_ = self._blocks(pairs, len(cells.sizes))
        return int(block_cost(cells.offsets.to(left.device), left, right).sum()) * -(-n_replicates // REPLICATES)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        left, right, at_left, at_right = self._blocks(pairs, len(cells.sizes))
        kernel = self.kappa()

        def work(device: torch.device, run: slice) -> Tensor:
            return cell_block_sums(
                cells,
                left[run],
                right[run],
                device,
                kernel=kernel,
                prepare=self.prepare,
                weights=weights,
                tick=tick,
            )

        runs = map_devices(
            devices[:1] if cells.matrix.is_dask else devices,
            lambda: block_cost(cells.offsets.to(left.device), left, right),
            work,
        )
        sums = torch.cat([run.to(devices[0]) for run in runs])
        n = group_totals(cells, weights, devices[0])
        between, within = sums[: len(pairs)], sums[len(pairs) :]
        if not self.uses_within:
            within = between.new_zeros(1, 1)
        a, b, at_left, at_right = (t.to(devices[0]) for t in (pairs.left, pairs.right, at_left, at_right))
        return Distances(self.combine(PairSums(between, within[at_left], within[at_right], n[a], n[b])))

    def _blocks(self, pairs: Pairs, n_groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pairs, then each group that occurs with itself; and where each pair finds its two among the latter."""
        if not self.uses_within:
            return pairs.left, pairs.right, torch.tensor(0), torch.tensor(0)
        present = torch.zeros(n_groups, dtype=torch.bool, device=pairs.left.device)
        present[pairs.left] = present[pairs.right] = True
        groups, position = torch.nonzero(present)[:, 0], present.cumsum(0) - 1
        return (
            torch.cat([pairs.left, groups]),
            torch.cat([pairs.right, groups]),
            position[pairs.left],
            position[pairs.right],
        )


@dataclass(frozen=True)
class _CellWise(KernelMetric):
    """A kernel metric whose κ is a distance between cells."""

    cell_wise_metric: CellWise = "euclidean"

    def __post_init__(self) -> None:
        one_of("cell_wise_metric", self.cell_wise_metric, get_args(CellWise))

    def kappa(self) -> Kernel:
        return Kernel("euclidean" if self.cell_wise_metric == "euclidean" else "sqeuclidean")

    def prepare(self, rows: Tensor) -> Tensor:
        if self.cell_wise_metric != "cosine":
            return rows
        # 1 − cos(x, y) is half the squared distance of the unit vectors
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
        if not bool((norm > 0).all()):
            raise ValueError("cell_wise_metric='cosine': a cell with all features 0 has no direction; drop such cells.")
        return (rows / norm * 0.5**0.5).to(rows.dtype)


@final
@dataclass(frozen=True)
class EDistance(_CellWise):
    """Energy distance ``2 E‖x−y‖ − E‖x−x'‖ − E‖y−y'‖`` (Székely and Rizzo 2013; Peidli et al. 2024).

    Parameters
    ----------
    cell_wise_metric
        Distance between two cells: ``"euclidean"``, ``"sqeuclidean"`` or ``"cosine"``.
    estimator
        ``"u"`` divides within-group sums by n(n−1): unbiased, may be negative for groups that are alike. ``"v"``
        divides by n², as pertpy does.
    """

    name: ClassVar[str] = "edistance"
    estimator: Literal["u", "v"] = "u"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("estimator", self.estimator, ("u", "v"))

    def combine(self, sums: PairSums) -> Tensor:
        """``2 ab / nm − aa / pairs − bb / pairs``."""

        def mean_within(total: Tensor, n: Tensor) -> Tensor:
            pairs = n * n if self.estimator == "v" else (n * (n - 1)).clamp(min=1)  # one cell: 0 / 1
            return total / pairs

        return (
            2 * sums.between / (sums.n_left * sums.n_right)
            - mean_within(sums.within_left, sums.n_left)
            - mean_within(sums.within_right, sums.n_right)
        )


@final
@dataclass(frozen=True)
class MeanPairwise(_CellWise):
    """Mean distance between the cells of one group and those of the other.

    Parameters
    ----------
    cell_wise_metric
        Distance between two cells: ``"euclidean"``, ``"sqeuclidean"`` or ``"cosine"``.
    """

    name: ClassVar[str] = "mean_pairwise"
    is_distance: ClassVar[bool] = False  # a group is not at 0 from itself
    uses_within: ClassVar[bool] = False

    def combine(self, sums: PairSums) -> Tensor:
        """``ab / nm``."""
        return sums.between / (sums.n_left * sums.n_right)


def one_of(argument: str, value: object, known: Sequence[object]) -> None:
    """Check an option that takes one of some values."""
    if value not in known:
        raise ValueError(f"{argument}={value!r} is not one of: {', '.join(map(repr, known))}.")
