"""Which tiles to compute for which pairs of groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.segment import expand

COLUMN_TILES = 64  # of one task: bounds what one program does, so that a large group is shared by many
COPIES = 5  # of the points that are held at most: as read, joined, the two that are multiplied, and what is in hand
MOST_TASKS = 2**22  # at once: bounds the memory of the schedule


@final
class Tiles(NamedTuple):
    """Runs of consecutive rows, each a piece of one large group or several whole small groups.

    Attributes
    ----------
    start, stop
        First row and one past the last, each of shape ``(t,)``.
    group_start, group_stop
        First group and one past the last, each of shape ``(t,)``.
    first, last
        For each group the first tile that holds rows of it and one past the last, each of shape ``(k,)``.
    """

    start: Tensor
    stop: Tensor
    group_start: Tensor
    group_stop: Tensor
    first: Tensor
    last: Tensor

    def rows(self) -> list[list[int]]:
        """``[start, stop, group_start, group_stop]`` of each tile."""
        return torch.stack(self[:4], 1).tolist()


def cut_tiles(offsets: Tensor, size: int, *, pack: bool = True) -> Tiles:
    """Cut sorted rows into tiles of at most `size` rows: large groups into even pieces, small ones packed if `pack`.

    Examples
    --------
    >>> tiles = cut_tiles(torch.tensor([0, 3, 5, 12]), 5)
    >>> list(zip(tiles.start.tolist(), tiles.stop.tolist()))
    [(0, 5), (5, 8), (8, 12)]
    """
    cuts = offsets.tolist()
    n_groups = len(cuts) - 1
    rows: list[tuple[int, int, int, int]] = []
    first, last = [0] * n_groups, [0] * n_groups
    g = 0
    while g < n_groups:
        stop = g + 1
        if pack and cuts[stop] - cuts[g] <= size:
            while stop < n_groups and cuts[stop + 1] - cuts[g] <= size:
                stop += 1
        n = cuts[stop] - cuts[g]
        pieces = max(1, -(-n // size))
        edges = [cuts[g] + n * i // pieces for i in range(pieces + 1)]
        first[g:stop] = [len(rows)] * (stop - g)
        rows += [(start, end, g, stop) for start, end in itertools.pairwise(edges)]
        last[g:stop] = [len(rows)] * (stop - g)
        g = stop
    columns = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).T
    start, stop, group_start, group_stop = columns
    return Tiles(start, stop, group_start, group_stop, torch.tensor(first), torch.tensor(last))


def tile_pairs(tiles: Tiles, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of tiles ``(s, t)``, ``s <= t``, without repeats and in order, that cover the pairs of groups."""
    rows, columns = tiles.last[left] - tiles.first[left], tiles.last[right] - tiles.first[right]
    within, pair = expand(torch.zeros_like(rows), rows * columns)
    s = tiles.first[left][pair] + torch.div(within, columns[pair], rounding_mode="floor")
    t = tiles.first[right][pair] + within % columns[pair]
    n_tiles = len(tiles.start)
    codes = torch.unique((s * n_tiles + t)[s <= t])
    return torch.div(codes, n_tiles, rounding_mode="floor"), codes % n_tiles


def block_cost(offsets: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Pairs of cells in each pair of groups: ``(p,)``, int64, all on one device; within a group half, by symmetry."""
    sizes = offsets.diff()
    return sizes[left] * sizes[right] // torch.where(left == right, 2, 1)


@final
class Tasks(NamedTuple):
    """Rectangles of cells for a run of pairs of groups, each for one program of a kernel.

    Attributes
    ----------
    which
        The pairs, as a slice of those given.
    spans
        Row, end of the row's group, column, end of the columns, whether both are of one group: shape ``(t, 5)``, int32,
        pair after pair.
    smaller
        Cells in the smaller of the task's pair of groups: shape ``(t,)``, int64.
    counts
        Tasks of each pair.
    """

    which: slice
    spans: Tensor
    smaller: Tensor
    counts: Tensor


def cut_tasks(offsets: Tensor, left: Tensor, right: Tensor, rows: int, columns: int, most: int) -> Iterator[Tasks]:
    """Cut pairs of groups into strips of `rows` × at most ``columns · COLUMN_TILES`` cells, about `most` at once.

    The tensors, all on one device, give tasks on that device.
    """
    sizes, span = offsets.diff(), columns * COLUMN_TILES
    until = (-(-sizes // rows)[left] * -(-sizes // span)[right]).cumsum(0)
    begin = 0
    while begin < len(left):
        if begin == 0 and int(until[-1]) <= most:
            end = len(left)
        else:
            done = int(until[begin - 1]) if begin else 0
            end = max(begin + 1, int(torch.searchsorted(until, done + most, right=True)))
        which = slice(begin, end)
        yield _tasks(which, offsets, left[which], right[which], rows, span)
        begin = end


def _tasks(which: slice, offsets: Tensor, left: Tensor, right: Tensor, rows: int, span: int) -> Tasks:
    sizes = offsets.diff()
    n, m = sizes[left], sizes[right]
    across = -(-m // span)
    counts = -(-n // rows) * across
    position, pair = expand(torch.zeros_like(counts), counts)
    row = offsets[left][pair] + torch.div(position, across[pair], rounding_mode="floor") * rows
    column = offsets[right][pair] + position % across[pair] * span
    row_stop, group_stop = offsets[left + 1][pair], offsets[right + 1][pair]
    column_stop, within = torch.minimum(column + span, group_stop), (left == right)[pair]
    spans = torch.stack([row, row_stop, column, column_stop, within], 1).int()
    return Tasks(which, spans, torch.minimum(n, m)[pair], counts)
