"""What every metric is."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple, final

import torch

from pertorch.exec import map_threads, steps, with_less_memory
from pertorch.ops.segment import batches, group_weights
from pertorch.stats import Columns

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Weights

# Replicates evaluated together: their weights are the columns of one matrix product.
REPLICATES = 128
# Of one operand of the per-pair algebra: on a CPU so little that it stays in a core's cache.
CHUNK_BYTES = {"cpu": 2**18, "cuda": 2**26}
COUNTED = {"cpu": 2**24, "cuda": 2**28}  # weights at once


class Needs(NamedTuple):
    """What a metric asks of the data.

    Attributes
    ----------
    left_cells, right_cells
        Fewest cells in X and in Y.
    features
        Fewest features.
    counts
        Whether the values must be raw counts.
    full_rank
        Whether X must have more cells than features.
    """

    left_cells: int = 1
    right_cells: int = 1
    features: int = 1
    counts: bool = False
    full_rank: bool = False

    def check(self, metric: str, cells: Cells, pairs: Pairs) -> None:
        """Raise ``ValueError`` that names the metric, the first group that is too small, and the cells it needs."""
        if cells.n_features < self.features:
            raise ValueError(
                f"{metric} needs at least {self.features} features, {cells.matrix.name} has {cells.n_features}."
            )
        left = cells.n_features + 1 if self.full_rank else self.left_cells
        if int(cells.sizes.min()) >= max(left, self.right_cells):
            return
        pairs = pairs.cpu()
        for side, groups, fewest in (("X", pairs.left, left), ("Y", pairs.right, self.right_cells)):
            small = groups[cells.sizes[groups] < fewest]
            if len(small):
                g = int(small[0])
                why = ", one more than features," if self.full_rank else ""
                raise ValueError(
                    f"{metric} needs at least {fewest} cells{why} in {side}, and group {cells.groups.names[g]!r} has "
                    f"{int(cells.sizes[g])}: leave that group out."
                )


@final
class Distances(NamedTuple):
    """What was found of some pairs in some replicates, shape ``(p, r)`` each.

    Attributes
    ----------
    values
        Distances, float64.
    converged
        Whether what they were iterated by came to its end; ``None`` where nothing is iterated.
    """

    values: torch.Tensor
    converged: torch.Tensor | None = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Distances:
        """Both, changed in one way."""
        return Distances(change(self.values), None if self.converged is None else change(self.converged))

    @classmethod
    def joined(cls, parts: Sequence[Distances], dim: int) -> Distances:
        """End to end: pairs along 0, replicates along 1."""
        values, converged = zip(*parts, strict=True)
        known = [part for part in converged if part is not None]
        return cls(torch.cat(values, dim), torch.cat(known, dim) if known else None)


class Metric(ABC):
    """A distance between two groups of cells. Subclasses are final dataclasses whose fields are the options.

    Attributes
    ----------
    name
        What a user calls it by.
    symmetric
        Whether d(X, Y) = d(Y, X). Where not, tables have both triangles: row X, column Y.
    is_distance
        Whether it is 0 between a group and itself and grows as two groups part; otherwise it is a score.
    needs
        What it asks of the data.
    unit
        What `cost` counts, for progress bars.
    by_pairs
        Whether it is evaluated from the cells of its pairs: of a file those of as many pairs as fit in memory are
        loaded at a time, of Dask shares of the pairs are tasks.
    jointly
        Whether the bits of a pair depend on those that it is evaluated with. Then a CPU cuts pairs into shares as if
        they were tasks, within the budget of dense rows, wherever the cells are.
    by_reference
        Whether pairs of one right group cannot be evaluated but together.
    least
        Cost of a share of pairs, in what `weigh` gives, below which cutting does not pay.
    """

    name: ClassVar[str]
    symmetric: ClassVar[bool] = True
    is_distance: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs()
    unit: ClassVar[str] = "batches of replicates"
    by_pairs: ClassVar[bool] = False
    jointly: ClassVar[bool] = False
    by_reference: ClassVar[bool] = False
    least: ClassVar[int] = 1

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

        Raises
        ------
        ValueError
            If the data are not what the metric `needs`.
        """
        self.needs.check(self.name, cells, pairs)
        cells = cells.near()
        metric = self.bound(cells, devices[0])
        found = (metric._by_shares if metric.by_pairs else metric._at_once)(cells, pairs, devices, weights, tick)
        if found.converged is not None and not bool(found.converged.all()):
            self.warn(cells, pairs.cpu(), found.converged.cpu())
        return found.values

    def _by_shares(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Weights | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        """Of pairs whose cells need not be in memory all together."""
        pairs, device = pairs.cpu(), devices[0]
        shares = cells.pair_shares(
            pairs,
            device,
            self.weigh(cells, pairs),
            dense=self.jointly,
            always=self.jointly and device.type == "cpu",
            least=self.least,
            by_reference=self.by_reference,
        )
        if cells.is_near and len(shares) == 1:
            return self._at_once(cells, pairs, devices, weights, tick)
        arguments = [(self, share.pairs, weights and weights.part(share.groups)) for share in shares]
        assert weights is None or all(part is not None for *_, part in arguments)
        costs = [self.cost(cells, pairs[share.which], weights.n_replicates if weights else 1) for share in shares]
        found = Distances.joined(cells.map(shares, _evaluated, arguments, devices, tick, costs), 0)
        back = torch.cat([share.which for share in shares]).argsort().to(device)
        return found.map(lambda part: part[back])

    def _at_once(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Weights | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        """Of all pairs, as many replicates at a time as there is room for."""
        chunks = []
        for columns in self.replicates(cells, weights):
            n_replicates = 1 if columns is None else columns.n_replicates
            with steps(tick, partial(self.cost, cells, pairs, n_replicates)) as told:
                work = partial(self._evaluate, cells, pairs, devices, columns, told)
                chunks.append(with_less_memory(devices[0], work))
        return Distances.joined(chunks, 1)

    def replicates(self, cells: Cells, weights: Weights | None) -> Iterator[Columns | None]:
        """Columns of the weights, `batch` at a time; ``None``, once, for no weights."""
        if weights is None:
            yield None
            return
        step = self.batch(cells)
        for start in range(0, weights.n_replicates, step):
            yield Columns(weights, cells.offsets, start, min(start + step, weights.n_replicates))

    def bound(self, cells: Cells, device: torch.device) -> Metric:
        """The metric for these cells: options that depend on the data become numbers."""
        del cells, device
        return self

    def batch(self, cells: Cells) -> int:
        """Replicates to evaluate at once."""
        del cells
        return REPLICATES

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Steps that the `tick`s of `evaluate` add up to."""
        del pairs
        return -(-n_replicates // self.batch(cells))

    def weigh(self, cells: Cells, pairs: Pairs) -> torch.Tensor:
        """What evaluating each pair costs beside others, shape ``(p,)``: its cells."""
        return cells.sizes[pairs.left] + cells.sizes[pairs.right]

    def warn(self, cells: Cells, pairs: Pairs, converged: torch.Tensor) -> None:
        """Tell the user, once a call, of what did not converge."""
        del cells, pairs, converged

    @abstractmethod
    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        """As `evaluate`, for at most `batch` columns of weights."""

    @classmethod
    def options(cls) -> list[str]:
        """Names of the options that the metric takes."""
        return [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _evaluated(
    cells: Cells,
    devices: Sequence[torch.device],
    tick: Callable[[int], object] | None,
    metric: Metric,
    pairs: Pairs,
    weights: Weights | None,
) -> Distances:
    return metric._at_once(cells, pairs, devices, weights, tick)


def group_totals(cells: Cells, weights: Columns | None, device: torch.device) -> torch.Tensor:
    """Cells, counted with their weights, in each group and replicate: shape ``(k, r)``, float64."""
    if weights is None or weights.weights.keeps_sizes:
        return cells.sizes.double()[:, None].to(device).expand(-1, weights.n_replicates if weights else 1)
    runs = batches(cells.sizes * weights.n_replicates, COUNTED[device.type])
    return torch.cat(
        [group_weights(cells.offsets[run.start : run.stop + 1], weights.of(run, device))[:, :, 0] for run in runs]
    )


def over_pairs(
    pairs: Pairs, device: torch.device, nbytes: int, between: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """``between(left, right)`` of all pairs, so many at a time that `nbytes` a pair stay within `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES[device.type] // max(1, nbytes))
    runs = list(zip(pairs.left.to(device).split(step), pairs.right.to(device).split(step), strict=True))
    return torch.cat(list(map_threads(lambda run: between(*run), runs, device)))
