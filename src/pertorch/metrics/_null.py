"""The distances that relabelled cells would have had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._kernel import KernelMetric, PairSums
from pertorch.ops.pairwise import block_sums, row_sums

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Permutations

Piece = tuple[int, int, int]

# Distances of a subset of n cells take about 7e-10 s a pair on a core, a product with one column of weights over all
# N cells 1.3e-11 s a pair: above N = 5 n the subsets are cheaper. On a GPU they always are.
SUBSETS_ABOVE = {"cpu": 5.0, "cuda": 0.0}
CHUNK = {"cpu": 2**18, "cuda": 2**24}  # cells of all replicates handled at once


def kernel_nulls(
    metric: KernelMetric,
    cells: Cells,
    pairs: Pairs,
    permutations: Sequence[Permutations],
    device: torch.device,
    tick: Callable[[int], object] | None,
) -> Tensor:
    """Null distributions of a kernel metric: ``(pairs, replicates)``, float64, on the CPU.

    With A the cells dealt to the smaller group, B the others and ρ the sums of κ over all of a pair's cells,
    ``Σ_AB = Σ_A ρ − Σ_AA`` and ``Σ_BB = Σ ρ − 2 Σ_A ρ + Σ_AA``: only distances within A are evaluated anew.
    """
    deal = _Deal(metric, cells, pairs, permutations, device)
    out = torch.empty(len(pairs), permutations[0].n_replicates, dtype=torch.float64)
    for pieces, nulls in zip(batches := deal.batches(), deal.in_order(batches), strict=True):
        for (p, start, stop), null in zip(pieces, nulls, strict=True):
            out[p, start:stop] = null
            if tick:
                tick(stop - start)
    return out


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
        """Pieces that are computed together: about `CHUNK` cells over all of their replicates."""
        most = CHUNK[self.device.type]
        out: list[list[Piece]] = []
        room = 0
        for p, permutations in enumerate(self.permutations):
            step = max(1, most // permutations.n_small)
            for start in range(0, permutations.n_replicates, step):
                stop = min(start + step, permutations.n_replicates)
                size = (stop - start) * permutations.n_small
                if size > room:
                    out.append([])
                    room = most
                out[-1].append((p, start, stop))
                room -= size
        return out

    def in_order(self, batches: list[list[Piece]]) -> Iterator[list[Tensor]]:
        """Each batch's nulls.

        On a CPU all threads deal the cells of some batches, one small operation after the other, and then take a batch
        each: its operations are too large to wait for each other and too small to share.
        """
        some = 4 * torch.get_num_threads() if self.device.type == "cpu" else 1
        for start in range(0, len(batches), some):
            dealt = [(batch, self._subsets(batch)) for batch in batches[start : start + some]]
            yield from map_threads(self, dealt, self.device)

    def _subsets(self, pieces: list[Piece]) -> list[Tensor]:
        return [self.permutations[p].subset(start, stop, self.device) for p, start, stop in pieces]

    def __call__(self, dealt: tuple[list[Piece], list[Tensor]]) -> list[Tensor]:
        pieces, subsets = dealt
        few = [
            len(self.members[p]) > SUBSETS_ABOVE[self.device.type] * s.shape[1]
            for (p, *_), s in zip(pieces, subsets, strict=True)
        ]
        alone = [self._weighted(p, s) for (p, *_), s, small in zip(pieces, subsets, few, strict=True) if not small]
        together = self._gathered([(p, s) for (p, *_), s, small in zip(pieces, subsets, few, strict=True) if small])
        within = [(together if small else alone).pop(0) for small in few]
        return [self._combine(p, s, w) for (p, *_), s, w in zip(pieces, subsets, within, strict=True)]

    def _gathered(self, subsets: list[tuple[int, Tensor]]) -> list[Tensor]:
        """``Σ_AA`` of subsets, by evaluating the distances within each."""
        if not subsets:
            return []
        index = torch.cat([self.members[p][subset].flatten() for p, subset in subsets])
        counts = [len(subset) for _, subset in subsets]
        sizes = torch.repeat_interleave(torch.tensor([s.shape[1] for _, s in subsets]), torch.tensor(counts))
        offsets, each = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]), torch.arange(len(sizes))
        sums = block_sums(self.rows, offsets, each, each, kernel=self.kernel, index=index)
        return list(sums[:, 0].split(counts))

    def _weighted(self, p: int, subset: Tensor) -> Tensor:
        """``Σ_AA`` of subsets of a pair's cells, by weighting the distances of all of them."""
        members = self.members[p]
        weights = torch.zeros(len(members), len(subset), device=self.device).scatter_(0, subset.T, 1.0)
        zero = torch.tensor([0])
        offsets = torch.tensor([0, len(members)])
        return block_sums(self.rows[members], offsets, zero, zero, kernel=self.kernel, weights=weights)[0]

    def _combine(self, p: int, subset: Tensor, within: Tensor) -> Tensor:
        permutations, rho = self.permutations[p], self.row_sums[p]
        over = rho[subset].sum(1)
        small, large = (rho.new_full((), n) for n in (subset.shape[1], len(rho) - subset.shape[1]))
        between, rest = over - within, rho.sum() - 2 * over + within
        sums = PairSums(between, within, rest, small, large)
        if permutations.n_left > permutations.n_right:
            sums = PairSums(between, rest, within, large, small)
        return self.metric.combine(sums)
