"""The distances that relabelled cells would have had."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pertorch.metrics._kernel import KernelMetric, PairSums
from pertorch.ops.pairwise import block_sums, row_sums, within_sums

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Permutations

Piece = tuple[int, int, int]

# Evaluating the distances within subsets of n cells takes as long as weighting those of all N cells where N is 9 n
# (n = 100) to 14 n (n = 300; two cores, 50 features). On a GPU the subsets are always sooner.
SUBSETS_ABOVE = {"cpu": 10.0, "cuda": 0.0}
CHUNK = {"cpu": 2**23, "cuda": 2**24}  # numbers handled at once: what the cells of all replicates take


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
    for pieces in deal.batches():
        for (p, start, stop), null in zip(pieces, deal(pieces), strict=True):
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

    def _few(self, p: int) -> bool:
        """Whether the smaller group is so small beside the other that distances within it are evaluated anew."""
        return len(self.members[p]) > SUBSETS_ABOVE[self.device.type] * self.permutations[p].n_small

    def _numbers(self, p: int) -> int:
        """What one replicate of a pair takes: weights, positions, or, on a CPU, the cells themselves."""
        if not self._few(p):
            return len(self.members[p])
        return self.permutations[p].n_small * (1 if self.device.type == "cuda" else self.rows.shape[1])

    def __call__(self, pieces: list[Piece]) -> list[Tensor]:
        """Nulls of some pieces."""
        subsets = [(p, self.permutations[p].subset(start, stop, self.device)) for p, start, stop in pieces]
        within: list[Tensor] = []
        # Neighbours of one kind and length go together
        for (few, _), run in itertools.groupby(subsets, lambda dealt: (self._few(dealt[0]), len(dealt[1]))):
            within += (self._gathered if few else self._weighted)(list(run))
        return [self._combine(p, s, w) for (p, s), w in zip(subsets, within, strict=True)]

    def _gathered(self, subsets: list[tuple[int, Tensor]]) -> list[Tensor]:
        """``Σ_AA`` of subsets, by evaluating the distances within each."""
        return within_sums(self.rows, [self.members[p][subset] for p, subset in subsets], kernel=self.kernel)

    def _weighted(self, subsets: list[tuple[int, Tensor]]) -> list[Tensor]:
        """``Σ_AA`` of equally many subsets of each pair's cells, by weighting the distances of all of them."""
        members = [self.members[p] for p, _ in subsets]
        sizes = torch.tensor([len(cells) for cells in members])
        weights = torch.zeros(int(sizes.sum()), len(subsets[0][1]), device=self.device)
        for block, (_, subset) in zip(weights.split(sizes.tolist()), subsets, strict=True):
            block.scatter_(0, subset.T, 1.0)
        offsets, each = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]), torch.arange(len(sizes))
        points = self.rows[torch.cat(members)]
        return list(block_sums(points, offsets, each, each, kernel=self.kernel, weights=weights))

    def _combine(self, p: int, subset: Tensor, within: Tensor) -> Tensor:
        permutations, rho = self.permutations[p], self.row_sums[p]
        over = rho[subset].sum(1)
        small, large = (rho.new_full((), n) for n in (subset.shape[1], len(rho) - subset.shape[1]))
        between, rest = over - within, rho.sum() - 2 * over + within
        sums = PairSums(between, within, rest, small, large)
        if permutations.n_left > permutations.n_right:
            sums = PairSums(between, rest, within, large, small)
        return self.metric.combine(sums)
