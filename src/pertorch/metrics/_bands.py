"""Block sums over more cells than may be dense at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import memory_budget
from pertorch.ops.pairwise import Kernel, block_sums
from pertorch.ops.pairwise._schedule import cut_tiles, tile_pairs

if TYPE_CHECKING:
    from pertorch.data import Cells

COPIES = 6  # of the cells, that block sums hold at most: centred, as rows and as columns of a product, in float64


@final
class _Band(NamedTuple):
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


def cell_block_sums(
    cells: Cells,
    left: Tensor,
    right: Tensor,
    device: torch.device,
    *,
    kernel: Kernel,
    prepare: Callable[[Tensor], Tensor],
    weights: Tensor | None,
    tick: Callable[[int], object] | None,
) -> Tensor:
    """:func:`pertorch.ops.pairwise.block_sums` of cells, with no more than the device's budget of them dense.

    Where all rows fit they are read once. Else they are cut into bands of half the budget, and two bands at a time
    give the sums of the pairs of groups that meet there.

    Parameters
    ----------
    prepare
        Makes rows into the points that κ is evaluated on, each by itself.
    cells, left, right, device, kernel, weights, tick
        As for ``block_sums``; the weights lie anywhere.
    """
    row_bytes = COPIES * cells.n_features * cells.matrix.dtype.itemsize
    most = memory_budget(device) // row_bytes
    weights = None if weights is None else weights.to(device)
    if int(cells.offsets[-1]) <= most:
        points = prepare(cells.on(device))
        return block_sums(points, cells.offsets, left, right, kernel=kernel, weights=weights, tick=tick)
    left, right = left.cpu(), right.cpu()
    tiles = cut_tiles(cells.offsets, max(1, most // 2))
    bands = [_Band(*tile) for tile in tiles.rows()]
    n_replicates = 1 if weights is None else weights.shape[1]
    total = torch.zeros(len(left), n_replicates, dtype=torch.float64, device=device)
    held, rows = None, torch.empty(0)
    for s, t in zip(*(index.tolist() for index in tile_pairs(tiles, left, right)), strict=True):
        a, b = bands[s], bands[t]
        if s != held:
            held, rows = s, prepare(cells.rows(a.start, a.stop, device))
        both = [a] if s == t else [a, b]
        points = rows if s == t else torch.cat([rows, prepare(cells.rows(b.start, b.stop, device))])
        which = torch.nonzero(a.holds(left) & b.holds(right))[:, 0]
        sizes = torch.cat([band.sizes(cells.offsets) for band in both])
        sums = block_sums(
            points,
            torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            left[which] - a.first_group,
            right[which] - b.first_group + len(sizes) - (b.last_group - b.first_group),
            kernel=kernel,
            weights=None if weights is None else torch.cat([weights[band.start : band.stop] for band in both]),
            tick=tick,
        )
        # Two pieces of one group: (s, t) stands for (t, s) too.
        total[which.to(device)] += 2 * sums if s != t and a.first_group == b.first_group else sums
    return total
