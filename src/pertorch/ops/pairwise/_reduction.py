"""Sums of pairs of tiles in torch: made, mended where rounding could tell, and added up."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.ops.pairwise._kernels import NOISE, Kernel, limit, surely
from pertorch.ops.pairwise._schedule import Tiles

# A tile stays in a core's L2 between the product, the root and the sum; yet each operation should be long enough for
# threads not to wait for the interpreter (measured on two AVX-512 cores with 2 MiB each: 512 rows are 1 to 1.3 times,
# 384 are 1.6 to 2.4 times slower). A GPU wants fewer, larger launches.
TILE_ROWS = {"cpu": 768, "cuda": 4096}
VECTOR = 16  # float32 in the widest register of a CPU
CENTRED_ROWS = {"cpu": 2**12, "cuda": 2**20}  # at once, in float64
HALF_ROWS = {"cpu": 86, "cuda": 1024}  # of a block of a tile of one group, weighted with what does not come before it


def operands(points: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor, Tensor]:
    """What to multiply for ``d²``, or for ``x·y`` where κ is of that; and ``|x|²`` of centred points: ``(n, 1)``."""
    if not kernel.of_distance:
        return points, points, points.new_zeros(len(points), 1)
    mean = points.mean(0, dtype=torch.float64)
    # The product of these two is the squared distance: |x|² + |y|² − 2 x·y in one call of BLAS.
    row, column = (points.new_empty(len(points), points.shape[1] + 2) for _ in range(2))

    def fill(rows: slice) -> None:
        x, y = row[rows], column[rows]
        centred = y[:, :-2]
        centred.copy_(points[rows] - mean)
        norm = centred.double().square().sum(1)
        torch.mul(centred, -2, out=x[:, :-2])
        x[:, -2], x[:, -1], y[:, -2], y[:, -1] = norm, 1, 1, norm

    step = CENTRED_ROWS[points.device.type]
    deque(map_threads(fill, [slice(i, i + step) for i in range(0, len(points), step)], points.device), maxlen=0)
    return row, column, column[:, -1:]


@final
class Batch(NamedTuple):
    """Sums of one task: group pairs as ``left · k + right``, in the order in which they were computed."""

    codes: Tensor  # (b,)
    sums: Tensor  # (b, r), float64, on the CPU
    n_pairs: int


@final
class _Tile(NamedTuple):
    """A run of rows and the groups it holds; `cuts` counts from its first row."""

    rows: slice
    groups: range
    cuts: list[int]

    @classmethod
    def of(cls, offsets: Tensor, start: int, stop: int, group_start: int, group_stop: int) -> _Tile:
        inner = (offsets[group_start + 1 : group_stop] - start).tolist()
        return cls(slice(start, stop), range(group_start, group_stop), [0, *inner, stop - start])

    @property
    def smallest(self) -> int:
        return min(b - a for a, b in zip(self.cuts[:-1], self.cuts[1:], strict=True))


@final
class Reduction:
    """One call's operands; called with a row tile and its column tiles, from any thread."""

    def __init__(
        self,
        points: Tensor,
        parts: tuple[Tensor, Tensor, Tensor],
        kernel: Kernel,
        offsets: Tensor,
        cut: Tiles,
        weights: list[Tensor] | None,
        halves: bool = False,
    ) -> None:
        """`parts` are the points' `operands`; `weights` has a tensor for each tile, of one group where `halves`."""
        row, column, norm = parts
        tiles = [_Tile.of(offsets, *tile) for tile in cut.rows()]
        self.device, self.n_replicates = points.device, 1 if weights is None else weights[0].shape[1]
        self._rows = [row[tile.rows] for tile in tiles]
        self._columns = [column[tile.rows].T for tile in tiles]
        self._points = [points[tile.rows] for tile in tiles]
        self._norms = [norm[tile.rows, 0] for tile in tiles]
        self._weights = None if weights is None else [own.to(points.dtype) for own in weights]
        self._largest = [float(norms.max()) for norms in self._norms]
        self._groups = [torch.arange(tile.groups.start, tile.groups.stop) for tile in tiles]
        self._limits = [limit(tile.smallest) for tile in tiles]
        self._kernel, self._tiles, self._n_groups = kernel, tiles, tiles[-1].groups.stop
        self._halves = halves
        self._room, self._scratch = TILE_ROWS[points.device.type] ** 2, threading.local()

    def __call__(self, stripe: tuple[int, list[int]]) -> Batch:
        s, columns = stripe
        left, groups = self._tiles[s], torch.cat([self._groups[t] for t in columns])
        n_rows, n_columns, at = left.cuts[-1], 0, 0
        per_row = self._per_row(n_rows, len(groups))
        for t in columns:
            right = self._tiles[t]
            values = self._values(s, t)
            mine = per_row[at : at + len(right.groups)]
            if self._halves and s == t:
                self._over_half(values, t, mine[0])
            else:
                self._over_columns(values, t, mine)
            if s < t and left.groups == right.groups:
                mine *= 2  # two pieces of one group: (s, t) stands for (t, s) too
            at += len(right.groups)
            n_columns += right.cuts[-1]
        codes = (self._groups[s][:, None] * self._n_groups + groups).flatten()
        n_pairs = n_rows * n_columns - (n_rows**2 // 2 if s in columns else 0)
        return Batch(codes, self._over_rows(per_row, s).flatten(0, 1).cpu(), n_pairs)

    def _per_row(self, n_rows: int, n_groups: int) -> Tensor:
        """Room for ``(groups, rows, r)``; each group's begins where a vector does, for the bits of BLAS show where."""
        n = n_rows * self.n_replicates
        room = self._rows[0].new_empty(n_groups, n + -n % VECTOR)
        return room[:, :n].view(n_groups, n_rows, self.n_replicates)

    def over_columns(self, s: int, columns: Iterable[int]) -> Tensor:
        """``Σ_j κ[i, j]`` of each row of a tile over some tiles: ``(rows,)``, float64."""
        total = torch.zeros(self._tiles[s].cuts[-1], dtype=torch.float64, device=self._rows[s].device)
        for t in columns:
            total += self._values(s, t).sum(1)
        return total

    def _values(self, s: int, t: int) -> Tensor:
        """κ of a tile pair, in this thread's scratch memory."""
        products = torch.mm(self._rows[s], self._columns[t], out=self._memory(s, t))
        return self._kernel.apply(self._mend(products, s, t) if self._kernel.of_distance else products)

    def _mend(self, squared: Tensor, s: int, t: int) -> Tensor:
        """Squared distances that can be trusted: computed again from differences where rounding could tell."""
        if s == t:
            squared.fill_diagonal_(float("inf"))
        if self._doubtful(squared, s, t):
            differences = "donot_use_mm_for_euclid_dist"
            squared = torch.cdist(self._points[s], self._points[t], compute_mode=differences).square_()
        return squared.fill_diagonal_(0) if s == t else squared

    def _doubtful(self, squared: Tensor, s: int, t: int) -> bool:
        """Whether a tile passes the limit of any of its groups; cells on the diagonal lie infinitely far."""
        most = min(self._limits[s], self._limits[t])
        # One cheap look at the extremes spares most tiles the exact check.
        largest = self._largest[s] + self._largest[t]
        if surely(self._kernel, float(squared.amin()), largest, most):
            return False
        norms = self._norms[s][:, None] + self._norms[t]
        if bool((squared < NOISE * norms).any()):
            return True
        error = self._kernel.slope(squared) * norms
        value = self._kernel.apply(squared.abs())
        if s == t:
            error.fill_diagonal_(0)
            value.fill_diagonal_(0)
        if len(self._tiles[s].groups) == len(self._tiles[t].groups) == 1:
            return float(error.sum()) > most * float(value.sum())
        return bool((error > most * value).any())

    def _over_columns(self, values: Tensor, t: int, out: Tensor) -> None:
        """``Σ_j κ[i, j] w[j, r]`` for each group of the columns: ``(groups, rows, r)``."""
        cuts = self._tiles[t].cuts
        for g, (start, stop) in enumerate(itertools.pairwise(cuts)):
            if self._weights is None:
                torch.sum(values[:, start:stop], 1, keepdim=True, out=out[g])
            else:
                torch.mm(values[:, start:stop], self._weights[t][start:stop], out=out[g])

    def _over_half(self, values: Tensor, t: int, out: Tensor) -> None:
        """As `_over_columns`, of one group with itself: a pair of cells counts twice in the row of one, never in both.

        That spares nearly half of the products.
        """
        assert self._weights is not None
        weights, step = self._weights[t], HALF_ROWS[values.device.type]
        for start in range(0, len(values), step):
            stop = start + step
            values[start:stop, stop:] *= 2
            torch.mm(values[start:stop, start:], weights[start:], out=out[start:stop])

    def _over_rows(self, per_row: Tensor, s: int) -> Tensor:
        """``Σ_i w[i, r] v[h, i, r]`` for each group of the rows: ``(groups, h, r)``, float64."""
        # Many replicates are many numbers: within a tile they are added up as they are.
        terms = per_row.double() if self._weights is None else per_row.mul_(self._weights[s])
        return torch.stack(
            [terms[:, start:stop].sum(1) for start, stop in itertools.pairwise(self._tiles[s].cuts)]
        ).double()

    def _memory(self, s: int, t: int) -> Tensor:
        """Room for one tile, kept by each thread: fresh pages for every tile cost more than the product itself."""
        try:
            room: Tensor = self._scratch.tile
        except AttributeError:
            room = self._scratch.tile = self._rows[s].new_empty(self._room)
        shape = self._tiles[s].cuts[-1], self._tiles[t].cuts[-1]
        return room[: shape[0] * shape[1]].view(shape)
