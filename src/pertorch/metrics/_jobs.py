"""Bands of cells, and which pairs of groups meet where two of them meet: how block sums beyond memory are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import TASKS, steps
from pertorch.ops.pairwise import Kernel, block_cost, block_sums, cut_tiles, tile_pairs
from pertorch.ops.segment import batches

Tick = Callable[[int], object] | None


@final
class Points(NamedTuple):
    """Cells of a band, or of two of them, as κ takes them, and their weights."""

    rows: Tensor
    weights: Tensor | None

    def copy(self) -> Points:
        """The same, in memory of their own."""
        return Points(self.rows.clone(), None if self.weights is None else self.weights.clone())

    def split(self, sizes: list[int]) -> list[Points]:
        """Views of successive cells."""
        none = [None] * len(sizes)
        return list(map(Points, self.rows.split(sizes), none if self.weights is None else self.weights.split(sizes)))

    @classmethod
    def joined(cls, parts: list[Points]) -> Points:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(torch.cat([part.rows for part in parts]), torch.cat(weights) if weights else None)


@final
class Band(NamedTuple):
    """A run of rows: several whole groups, or a piece of one."""

    start: int
    stop: int
    first_group: int
    last_group: int

    def holds(self, groups: Tensor) -> Tensor:
        return (self.first_group <= groups) & (groups < self.last_group)

    def sizes(self, offsets: Tensor) -> Tensor:
        """Rows of each of its groups that are in the band."""
        return offsets[self.first_group : self.last_group + 1].clamp(self.start, self.stop).diff()


@final
class Job(NamedTuple):
    """Pairs of groups that meet where one band meets another, or itself."""

    bands: tuple[int, ...]
    which: Tensor  # of all pairs
    offsets: Tensor  # of the groups among the rows of the bands
    left: Tensor
    right: Tensor
    times: int  # 2 for two pieces of one group, where (s, t) stands for (t, s) too

    @property
    def cost(self) -> Tensor:
        return block_cost(self.offsets, self.left, self.right)

    def sums(self, points: Points, kernel: Kernel, tick: Tick = None) -> Tensor:
        """Shape ``(pairs, r)``, of the cells of its bands."""
        rows, weights = points
        with steps(tick, lambda: int(self.cost.sum())) as told:
            sums = block_sums(rows, self.offsets, self.left, self.right, kernel=kernel, weights=weights, tick=told)
        return self.times * sums if self.times > 1 else sums


def jobs_of_bands(offsets: Tensor, most: int, left: Tensor, right: Tensor) -> tuple[list[Band], Iterator[Job]]:
    """Bands of so many rows at most, and what is to be done where they meet."""
    tiles = cut_tiles(offsets, most)
    bands = [Band(*tile) for tile in tiles.rows()]
    return bands, _in_order(bands, offsets, left, right, tile_pairs(tiles, left, right))


def _in_order(
    bands: list[Band], offsets: Tensor, left: Tensor, right: Tensor, pairs: tuple[Tensor, Tensor]
) -> Iterator[Job]:
    """Each band with itself when it is there: in one against all, every band is read once."""
    in_order = list(zip(*(index.tolist() for index in pairs), strict=True))
    undone = set(in_order)
    for pair in in_order:
        for s, t in (pair, (pair[0], pair[0]), (pair[1], pair[1])):
            if (s, t) in undone:
                undone.remove((s, t))
                yield _job(bands, s, t, offsets, left, right)


def _job(bands: list[Band], s: int, t: int, offsets: Tensor, left: Tensor, right: Tensor) -> Job:
    a, b = bands[s], bands[t]
    both = (s,) if s == t else (s, t)
    which = torch.nonzero(a.holds(left) & b.holds(right))[:, 0]
    sizes = torch.cat([bands[i].sizes(offsets) for i in both])
    return Job(
        both,
        which,
        torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        left[which] - a.first_group,
        right[which] - b.first_group + len(sizes) - (b.last_group - b.first_group),
        2 if s != t and a.first_group == b.first_group else 1,
    )


def jobs_of_pairs(whole: Job) -> Iterator[Job]:
    """Runs of pairs of like cost."""
    left, right = whole.left.cpu(), whole.right.cpu()
    cost = block_cost(whole.offsets, left, right)
    for run in batches(cost, max(1, int(cost.sum()) // TASKS)):
        yield whole._replace(which=whole.which[run], left=left[run], right=right[run])
