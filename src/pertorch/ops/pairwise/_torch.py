"""Block sums in torch: the CPU path, the float64 path of every device, and the truth that the kernel is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.ops.pairwise._kernels import Kernel
from pertorch.ops.pairwise._reduction import TILE_ROWS, Batch, Reduction, operands
from pertorch.ops.pairwise._schedule import cut_tiles, tile_pairs

BATCH = 8  # tile pairs a task: long enough to hide the queue, short enough to balance the threads
LOOKED_UP = 2**16  # sums at once


def block_sums(
    points: Tensor,
    offsets: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    kernel: Kernel,
    weights: Tensor | None,
    tick: Callable[[int], object] | None,
) -> Tensor:
    """See :func:`pertorch.ops.pairwise.block_sums`."""
    left, right = left.cpu(), right.cpu()
    tiles = cut_tiles(offsets, TILE_ROWS[points.device.type])
    shares = None if weights is None else [weights[start:stop] for start, stop, *_ in tiles.rows()]
    reduction = Reduction(points, operands(points, kernel), kernel, offsets, tiles, shares)
    return _sums(reduction, tile_pairs(tiles, left, right), left * (len(offsets) - 1) + right, tick).to(points.device)


def weighted_sums(points: Tensor, sets: Sequence[Tensor], weights: Sequence[Tensor], *, kernel: Kernel) -> list[Tensor]:
    """See :func:`pertorch.ops.pairwise.weighted_sums`."""
    sizes, each, cells = torch.tensor([len(rows) for rows in sets]), torch.arange(len(sets)), torch.cat(list(sets))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    tiles = cut_tiles(offsets, TILE_ROWS[points.device.type], pack=False)
    begin = offsets.tolist()
    shares = [weights[g][start - begin[g] : stop - begin[g]] for start, stop, g, _ in tiles.rows()]
    # Centred once for all: so what a set is met with does not show in its bits.
    row, column, norm = operands(points, kernel)
    parts = row[cells], column[cells], norm[cells]
    reduction = Reduction(points[cells], parts, kernel, offsets, tiles, shares, halves=True)
    return list(_sums(reduction, tile_pairs(tiles, each, each), each * (len(sets) + 1), None).to(points.device))


def row_sums(points: Tensor, offsets: Tensor, left: Tensor, right: Tensor, *, kernel: Kernel) -> list[Tensor]:
    """See :func:`pertorch.ops.pairwise.row_sums`."""
    tiles = cut_tiles(offsets, TILE_ROWS[points.device.type], pack=False)
    reduction = Reduction(points, operands(points, kernel), kernel, offsets, tiles, None)
    tiles_of = [range(a, b) for a, b in zip(tiles.first.tolist(), tiles.last.tolist(), strict=True)]
    return [
        torch.cat([reduction.over_columns(s, tiles_of[b]) for s in tiles_of[a]])
        for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]


def _sums(
    reduction: Reduction, pairs: tuple[Tensor, Tensor], codes: Tensor, tick: Callable[[int], object] | None
) -> Tensor:
    """Sums of the pairs of groups ``left · k + right`` over pairs of tiles: ``(p, r)``, float64, on the CPU."""
    codes, position = torch.sort(codes)
    total = torch.zeros(len(codes), reduction.n_replicates, dtype=torch.float64)
    # One thread a batch, each with a BLAS of its own: a tile is too small to share, and its bits then do not depend
    # on how many threads there are.
    for done in _gathered(map_threads(reduction, _stripes(*pairs), reduction.device), tick):
        wanted = torch.searchsorted(codes, done.codes).clamp_(max=max(0, len(codes) - 1))
        asked_for = codes[wanted] == done.codes
        total.index_add_(0, position[wanted[asked_for]], done.sums[asked_for])
    return total


def _stripes(s: Tensor, t: Tensor) -> list[tuple[int, list[int]]]:
    """Tile pairs as tasks: one row tile against up to `BATCH` column tiles."""
    values, counts = torch.unique_consecutive(s, return_counts=True)
    columns = [part.split(BATCH) for part in t.split(counts.tolist())]
    return [(row, part.tolist()) for row, parts in zip(values.tolist(), columns, strict=True) for part in parts]


def _gathered(batches: Iterator[Batch], tick: Callable[[int], object] | None) -> Iterator[Batch]:
    """Batches put together, in their order: looking up a few sums at a time would keep the threads waiting."""
    held: list[Batch] = []
    room = LOOKED_UP
    for batch in batches:
        held.append(batch)
        room -= batch.sums.numel()
        if tick:
            tick(batch.n_pairs)
        if room <= 0:
            yield Batch(torch.cat([b.codes for b in held]), torch.cat([b.sums for b in held]), 0)
            held, room = [], LOOKED_UP
    if held:
        yield Batch(torch.cat([b.codes for b in held]), torch.cat([b.sums for b in held]), 0)
