"""The distances that relabelled cells would have had."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pertorch.exec import map_devices
from pertorch.metrics._kernel import KernelMetric, PairSums
from pertorch.ops.pairwise import row_sums, weighted_sums, within_sums
from pertorch.stats import Permutations, indicators

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

Piece = tuple[int, int, int]

CHUNK = {"cpu": 2**23, "cuda": 2**24}  # numbers handled at once: what the cells of all replicates take


def kernel_nulls(
    metric: KernelMetric,
    cells: Cells,
    pairs: Pairs,
    permutations: Sequence[Permutations],
    devices: Sequence[torch.device],
    tick: Callable[[int], object] | None,
) -> Tensor:
    """Null distributions of a kernel metric: ``(pairs, replicates)``, float64, on the CPU, the same from all devices.

    With A the cells dealt to the smaller group, B the others and ρ the sums of κ over all of a pair's cells,
    ``Σ_AB = Σ_A ρ − Σ_AA`` and ``Σ_BB = Σ ρ − 2 Σ_A ρ + Σ_AA``: only distances within A are evaluated anew.
    """

    def work(device: torch.device, run: slice) -> Tensor:
        some = replace(pairs, left=pairs.left[run], right=pairs.right[run])
        deal = _Deal(metric, cells, some, permutations[run], device)
        out = torch.empty(len(deal.permutations), permutations[0].n_replicates, dtype=torch.float64)
        for pieces in deal.batches():
            for (p, start, stop), null in zip(pieces, deal(pieces), strict=True):
                out[p, start:stop] = null
                if tick:
                    tick(stop - start)
        return out

    def cost() -> Tensor:
        """Distances evaluated or weighted."""
        small, n = torch.tensor([[p.n_small, p.n_cells] for p in permutations]).T
        return torch.tensor([p.n_replicates for p in permutations]) * small**2 + n**2

    return torch.cat(map_devices(devices, cost, work))


@final
class _Deal:
    """One call's cells and their row sums; called with pieces ``(pair, first replicate, one past the last)``."""

    def __init__(
        self,
        metric: KernelMetric,
        cells: Cells,
        pairs: Pairs,
        permutations: Sequence[Permutations],
        device: torch.device,
    ) -> None:
        self.metric, self.permutations, self.device = metric, permutations, device
        self.rows, self.kernel = metric.prepare(cells.on(device)), metric.kappa()
        starts, stops = cells.offsets[:-1].tolist(), cells.offsets[1:].tolist()
        self.members = [
            torch.cat([torch.arange(starts[a], stops[a]), torch.arange(starts[b], stops[b])]).to(device)
            for a, b in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
        ]
        self.row_sums = self._row_sums(cells.offsets, pairs)

    def _row_sums(self, offsets: Tensor, pairs: Pairs) -> list[Tensor]:
        """ρ of each pair, over its members."""
        groups = torch.unique(torch.cat([pairs.left, pairs.right]))
        left = torch.cat([pairs.left, pairs.right, groups])
        right = torch.cat([pairs.right, pairs.left, groups])
        sums = row_sums(self.rows, offsets, left, right, kernel=self.kernel)
        n = len(pairs)
        own = dict(zip(groups.tolist(), sums[2 * n :], strict=True))
        return [
            torch.cat([sums[p] + own[a], sums[n + p] + own[b]])
            for p, (a, b) in enumerate(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
        ]

    def batches(self) -> list[list[Piece]]:
        """Pieces that are computed together: about `CHUNK` numbers over all of their replicates."""
        most = CHUNK[self.device.type]
        out: list[list[Piece]] = []
        room = 0
        for p, permutations in enumerate(self.permutations):
            numbers = self._numbers(p)
            step = max(1, most // numbers)
            for start in range(0, permutations.n_replicates, step):
                stop = min(start + step, permutations.n_replicates)
                size = (stop - start) * numbers
                if size > room:
                    out.append([])
                    room = most
                out[-1].append((p, start, stop))
                room -= size
        return out

    def _subsets(self, p: int) -> bool:
        """Whether distances within the subsets are evaluated anew: on a GPU that is always sooner.

        On two cores, with 50 features, it takes as long as weighting the distances of all cells where one in 10 (a
        subset of 150) to one in 14 (of 300) is dealt.
        """
        return self.device.type == "cuda" or self.permutations[p].few

    def _numbers(self, p: int) -> int:
        """What one replicate of a pair takes: weights, positions, or, on a CPU, the cells themselves."""
        if not self._subsets(p):
            return len(self.members[p])
        return self.permutations[p].n_small * (1 if self.device.type == "cuda" else self.rows.shape[1])

    def __call__(self, pieces: list[Piece]) -> list[Tensor]:
        """Nulls of some pieces."""
        out: list[Tensor] = []
        # Neighbours of one kind and length go together
        for (subsets, _), run in itertools.groupby(pieces, lambda p: (self._subsets(p[0]), p[2] - p[1])):
            some = list(run)
            sums = self._gathered(some) if subsets else self._weighted(some)
            out += [self._combine(p, *of_p) for (p, *_), of_p in zip(some, sums, strict=True)]
        return out

    def _gathered(self, pieces: list[Piece]) -> Iterable[tuple[Tensor, Tensor]]:
        """``Σ_A ρ`` and ``Σ_AA``, by evaluating the distances within each subset."""
        subsets = [self.permutations[p].subset(start, stop, self.device) for p, start, stop in pieces]
        members = [self.members[p][subset] for (p, *_), subset in zip(pieces, subsets, strict=True)]
        within = within_sums(self.rows, members, kernel=self.kernel)
        over = [self.row_sums[p][subset].sum(1) for (p, *_), subset in zip(pieces, subsets, strict=True)]
        return zip(over, within, strict=True)

    def _weighted(self, pieces: list[Piece]) -> Iterable[tuple[Tensor, Tensor]]:
        """The same, by weighting the distances of all cells of each pair."""
        weights = indicators([(self.permutations[p], start, stop) for p, start, stop in pieces], self.device)
        within = weighted_sums(self.rows, [self.members[p] for p, *_ in pieces], weights, kernel=self.kernel)
        over = [self._over(p, own) for (p, *_), own in zip(pieces, weights, strict=True)]
        return zip(over, within, strict=True)

    def _over(self, p: int, weights: Tensor) -> Tensor:
        """``Σ_A ρ``, of which only what differs from the mean is multiplied in the precision of the rows."""
        rho, n = self.row_sums[p], self.permutations[p].n_small
        mean = rho.mean()
        deviation = (rho - mean).to(self.rows.dtype)
        return n * mean + (weights.T.to(deviation.dtype) @ deviation).double()

    def _combine(self, p: int, over: Tensor, within: Tensor) -> Tensor:
        permutations, rho = self.permutations[p], self.row_sums[p]
        small, large = (rho.new_full((), n) for n in (permutations.n_small, len(rho) - permutations.n_small))
        between, rest = over - within, rho.sum() - 2 * over + within
        sums = PairSums(between, within, rest, small, large)
        if permutations.n_left > permutations.n_right:
            sums = PairSums(between, rest, within, large, small)
        return self.metric.combine(sums)
