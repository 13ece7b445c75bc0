"""The rows that a call needs, in group order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar, final

import numpy as np
import scipy.sparse as sp
import torch

from pertorch.data._groups import Groups
from pertorch.data._map import map_shares
from pertorch.data._matrix import Matrix, Slab, as_matrix, densify
from pertorch.data._pairs import Pairs
from pertorch.data._shares import Share, group_shares, pair_shares
from pertorch.data._tasks import reduce_slabs, rows_task, taken_task
from pertorch.exec import TASKS, Kept, memory_budget, task
from pertorch.ops.pairwise import COPIES, cut_tiles

T = TypeVar("T")
SLAB_BYTES = 64 * 2**20  # float64 copies of a slab, of which an op may hold two, are four times that
HELD_BYTES = {"cpu": 2**24, "cuda": 2**33}  # of a dense matrix
NEAR_SHARE = 1 / 2  # of the host's budget, that rows of a file may take for good
CPU = torch.device("cpu")


@final
@dataclass(frozen=True)
class Cells:
    """Matrix × Groups: what a metric is evaluated on."""

    matrix: Matrix
    groups: Groups
    _loaded: Kept[torch.Tensor] = field(default_factory=Kept)

    @property
    def offsets(self) -> torch.Tensor:
        """See :attr:`Groups.offsets`."""
        return self.groups.offsets

    @property
    def sizes(self) -> torch.Tensor:
        """See :attr:`Groups.sizes`."""
        return self.groups.sizes

    @property
    def n_features(self) -> int:
        """Columns of the matrix."""
        return self.matrix.shape[1]

    @property
    def is_near(self) -> bool:
        """Whether rows can be had in group order without reading a file anew."""
        return not self.matrix.is_file

    @property
    def _row_bytes(self) -> float:
        """Of a row as it is held in memory."""
        matrix = self.matrix
        return matrix.entries_per_row * (matrix.dtype.itemsize + (4 if matrix.is_sparse else 0))

    def near(self) -> Cells:
        """These cells with their rows in memory, gathered in one pass and kept; of a file that holds more, itself.

        Rows of a group are scattered over a file, which gives rows fast only in its own order. So those of a file that
        fit half of the host's budget are gathered once, and all that follows is as if they had been in memory. Those of
        a Dask array stay, for its workers to work on.
        """
        fits = int(self.offsets[-1]) <= self._most_loaded
        return self._gathered if not self.is_near and fits and not self.matrix.is_dask else self

    @cached_property
    def _gathered(self) -> Cells:
        return self.some(range(len(self.sizes)))

    @property
    def _most_loaded(self) -> float:
        """Rows of a file that may be in memory, as they are stored."""
        return NEAR_SHARE * memory_budget(CPU) / self._row_bytes

    def some(self, groups: Sequence[int]) -> Cells:
        """The cells of some groups, in this order: those of a file in memory."""
        if self.is_near and list(groups) == list(range(len(self.sizes))):
            return self
        if self.is_near:
            names, column = tuple(self.groups.names[g] for g in groups), self.groups.column
            code = np.full(len(self.sizes) + 1, -1, dtype=np.int64)  # the last entry serves code −1
            code[list(groups)] = np.arange(len(groups))
            return Cells(self.matrix, Groups(names, code[self.groups.codes], column))
        rows, labels = self._scattered(groups)
        return Cells(self._read(lambda index: self.matrix.taken(index.numpy()), rows), labels)

    def some_task(self, groups: Sequence[int]) -> Any:
        """The task of Dask that gives :meth:`some`, in the memory of who runs it."""
        rows, labels = self._scattered(groups)
        return task(partial(_labelled, labels), taken_task(self.matrix, rows.numpy()))

    def _scattered(self, groups: Sequence[int]) -> tuple[torch.Tensor, Groups]:
        """Rows of some groups, group after group, and the groups of these rows."""
        rows = torch.cat([self._order[self.offsets[g] : self.offsets[g + 1]] for g in groups])
        codes = np.repeat(np.arange(len(groups)), self.sizes[list(groups)].numpy())
        return rows, Groups(tuple(self.groups.names[g] for g in groups), codes, self.groups.column)

    def group_shares(self, groups: Sequence[int] | None = None) -> list[Share]:
        """Runs of groups, of all of them where none are named, whose cells fit in memory together.

        Those of a file take a pass each; of those of Dask there are so many that workers can share them.
        """
        groups = range(len(self.sizes)) if groups is None else groups
        n_cells = int(self.sizes[list(groups)].sum())
        most = n_cells if self.is_near else min(n_cells, self._most_loaded)
        return group_shares(groups, self.sizes, most, n_cells / TASKS if self.matrix.is_dask else n_cells)

    def pair_shares(
        self,
        pairs: Pairs,
        device: torch.device,
        cost: torch.Tensor,
        *,
        dense: bool = False,
        always: bool = False,
        least: int = 1,
        by_reference: bool = False,
    ) -> list[Share]:
        """Shares of pairs of groups whose cells fit in memory together: see :func:`data._shares.pair_shares`.

        Parameters
        ----------
        pairs
            Pairs of groups, on the host. A single one may be larger than the budget.
        device
            Where they will be worked on.
        cost
            Of each pair.
        dense
            Whether rows are to be dense there, in several copies; else as they are stored, and only those of a file
            are counted.
        always
            Whether to cut so many shares as Dask's workers get, wherever the cells are.
        least
            Cost of a share, at least.
        by_reference
            Whether all pairs of one right group stay together.
        """
        most = self._most_loaded
        if dense:
            most = memory_budget(device) / (COPIES * self.n_features * self.matrix.dtype.itemsize)
        elif self.is_near:
            most = float(self.offsets[-1])
        share = max(least, float(cost.sum()) / TASKS) if always or self.matrix.is_dask else float(cost.sum())
        return pair_shares(pairs, self.sizes, most, cost, share, by_reference=by_reference)

    def map(
        self,
        shares: Sequence[Share],
        work: Callable[..., T],
        arguments: Sequence[tuple[Any, ...]],
        devices: Sequence[torch.device],
        tick: Callable[[int], object] | None = None,
        costs: Sequence[int] = (),
    ) -> list[T]:
        """``work(cells, devices, tick, *arguments[i])`` of the cells of each share, in memory.

        Those of a file are read in one pass for all shares that have them loaded together. Those of Dask are worked on
        by its workers, each on a device of its own of the same kind; what is done comes to the first of `devices`.

        Parameters
        ----------
        shares
            From :meth:`group_shares` or :meth:`pair_shares`.
        work
            For Dask, a function of a module, or ``functools.partial`` of one.
        arguments
            Of each share.
        devices
            Where to work.
        tick
            For the work to tell what is done; where others do it, told the `costs` of each share. Without one a bar of
            its own tells cells.
        costs
            Of each share, in the unit of `tick`.
        """
        return map_shares(self, list(zip(shares, arguments, strict=True)), work, devices, tick, costs)

    def on(self, device: torch.device) -> torch.Tensor:
        """All rows on `device`, sorted by group: shape ``(offsets[-1], d)``. Read once per device.

        Raises
        ------
        ValueError
            If a value is NaN or infinite.
        """
        if device not in self._loaded:
            sparse = self.matrix.is_sparse
            self._loaded[device] = (
                self._dense(0, int(self.offsets[-1]), device) if sparse else self.matrix.rows(self.groups.order(device))
            )
        return self._loaded[device]

    @cached_property
    def csr(self) -> sp.csr_array:
        """All rows of a sparse matrix as CSR on the host, sorted by group. Errors as :meth:`on`."""
        return self.matrix.csr(self._order.numpy())

    def slabs(
        self, device: torch.device, groups: slice = slice(None), nbytes: int = SLAB_BYTES
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Rows of :meth:`on` a slab at a time, without holding them all: the first row's position, and the rows.

        A slab takes at most `nbytes`. It ends where a group does, or, in a group that is larger than a slab, where that
        group's size alone says: so nothing that is added up slab by slab depends on the other groups.

        Parameters
        ----------
        device
            Where the rows are wanted.
        groups
            Run of groups whose rows are wanted.
        nbytes
            Largest slab.
        """
        first, last, _ = groups.indices(len(self.sizes))
        offsets = self.offsets[first : last + 1]
        nbytes = min(nbytes, memory_budget(device) // 4)
        n_rows = max(1, nbytes // max(1, self.n_features * self.matrix.dtype.itemsize))
        begin, end = int(offsets[0]), int(offsets[-1])
        if end - begin <= n_rows:
            yield begin, self.rows(begin, end, device)
            return
        for start, stop, _, _ in cut_tiles(offsets - begin, n_rows).rows():
            yield begin + start, self.rows(begin + start, begin + stop, device)

    def rows(self, start: int, stop: int, device: torch.device) -> torch.Tensor:
        """Rows ``start:stop`` of :meth:`on`."""
        if self._held(device):
            return self.on(device)[start:stop]
        if self.matrix.is_sparse:
            return self._dense(start, stop, device)
        return self._read(self.matrix.rows, self._order[start:stop].to(device))

    def rows_task(self, start: int, stop: int) -> Any:
        """The task of Dask that gives :meth:`rows` on the host: where it runs, they are gathered."""
        return rows_task(self.matrix, self._order[start:stop].numpy())

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Rows of :meth:`on` at some positions, on the device of `index`, without holding the others."""
        if self._held(index.device):
            return self.on(index.device)[index]
        return self._read(self.matrix.rows, self._order[index.cpu()].to(index.device))

    def _dense(self, start: int, stop: int, device: torch.device) -> torch.Tensor:
        """Rows of a sparse matrix: on a GPU made dense there, where the whole of what is stored may lie."""
        if self.matrix.resident(device) is not None:
            return self._read(self.matrix.rows, self._order[start:stop].to(device))
        return densify(self.csr_rows(start, stop), device)

    def csr_rows(self, start: int, stop: int) -> sp.csr_array:
        """Rows ``start:stop`` of :attr:`csr`."""
        if "csr" in self.__dict__:
            return self.csr[start:stop]
        return self._read(lambda index: self.matrix.csr(index.numpy()), self._order[start:stop])

    def reduce_slabs(self, work: Callable[[Slab, Any], T], merge: Callable[[list[T]], T]) -> T:
        """Merge ``work(slab, codes)`` of all slabs in the order of storage: see :func:`data._tasks.reduce_slabs`."""
        return reduce_slabs(self.matrix, work, merge, self.groups.codes)

    def group(self, g: int, device: torch.device) -> torch.Tensor:
        """Rows of group `g`, dense: shape ``(sizes[g], d)``."""
        return self.rows(int(self.offsets[g]), int(self.offsets[g + 1]), device)

    def _held(self, device: torch.device) -> bool:
        """Whether all rows are there, or had best be: what is small, or beyond a bus, is read once."""
        if device in self._loaded:
            return True
        nbytes = int(self.offsets[-1]) * self.n_features * self.matrix.dtype.itemsize
        held = self.is_near and not self.matrix.is_sparse
        return held and nbytes <= min(HELD_BYTES[device.type], memory_budget(device))

    @cached_property
    def _order(self) -> torch.Tensor:
        return self.groups.order(torch.device("cpu"))

    def _read(self, read: Callable[[torch.Tensor], T], index: torch.Tensor) -> T:
        try:
            return read(index)
        except ValueError:
            read(self._order)  # fails too, and counts all rows at fault
            raise

    def twice(self, left: int, right: int, device: torch.device) -> Cells:
        """The cells of two groups together, once under each one's name: what permuted labels are dealt to."""
        rows = [range(*self.offsets[g : g + 2].tolist()) for g in (left, right)]
        names = self.groups.names[left], self.groups.names[right]
        both = Groups(names, np.repeat(np.arange(2), sum(map(len, rows))), self.groups.column)
        if self.matrix.is_sparse:
            parts = [self.csr_rows(r.start, r.stop) for r in rows]
            return Cells(as_matrix(sp.vstack(parts * 2, format="csr"), self.matrix.name), both)
        dense = [self.rows(r.start, r.stop, device) for r in rows]
        return Cells(as_matrix(torch.cat(dense * 2), self.matrix.name), both)

    def resampled(self, weights: torch.Tensor) -> Cells:
        """Each cell as often as its weight says: what a metric that has no weighted form is evaluated on.

        Parameters
        ----------
        weights
            Shape ``(n,)``, non-negative integers, in group order: one column of :class:`pertorch.stats.Weights`.
        """
        times = weights.cpu().long()
        index = torch.repeat_interleave(torch.arange(len(times)), times)
        codes = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)[index].numpy()
        groups = Groups(self.groups.names, codes, self.groups.column)
        if self.matrix.is_sparse:
            return Cells(as_matrix(self.csr[index.numpy()], self.matrix.name), groups)
        rows = self.on(weights.device)
        taken = rows[index.to(rows.device)]
        return Cells(as_matrix(taken, self.matrix.name), groups, Kept({rows.device: taken}))


def _labelled(labels: Groups, matrix: Matrix) -> Cells:
    return Cells(matrix, labels)
