"""The rows that a call needs, in group order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, final

import torch

from pertorch.data._groups import Groups
from pertorch.data._matrix import Matrix, as_matrix, densify
from pertorch.ops.pairwise._schedule import cut_tiles

if TYPE_CHECKING:
    import scipy.sparse as sp

SLAB_BYTES = 64 * 2**20  # float64 copies of a slab, of which an op may hold two, are four times that


@final
@dataclass(frozen=True)
class Cells:
    """Matrix × Groups: what a metric is evaluated on."""

    matrix: Matrix
    groups: Groups
    _loaded: dict[torch.device, torch.Tensor] = field(default_factory=dict)

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

    def on(self, device: torch.device) -> torch.Tensor:
        """All rows on `device`, sorted by group: shape ``(offsets[-1], d)``. Read once per device.

        Raises
        ------
        ValueError
            If a value is NaN or infinite.
        """
        if device not in self._loaded:
            index = self.groups.order(device)
            self._loaded[device] = densify(self.csr, device) if self.matrix.is_sparse else self.matrix.rows(index)
        return self._loaded[device]

    @cached_property
    def csr(self) -> sp.csr_array:
        """All rows of a sparse matrix as CSR on the host, sorted by group. Errors as :meth:`on`."""
        return self.matrix.csr(self.groups.order(torch.device("cpu")).numpy())

    def slabs(self, device: torch.device, nbytes: int = SLAB_BYTES) -> Iterator[tuple[int, torch.Tensor]]:
        """The rows of :meth:`on` a slab at a time, without holding them all: the first row's position, and the rows.

        A slab takes at most `nbytes`. It ends where a group does, or, in a group that is larger than a slab, where that
        group's size alone says: so nothing that is added up slab by slab depends on the other groups.
        """
        n_rows = max(1, nbytes // max(1, self.n_features * self.matrix.dtype.itemsize))
        if device in self._loaded or self.matrix.is_file or int(self.offsets[-1]) <= n_rows:
            yield 0, self.on(device)
            return
        for start, stop, _, _ in cut_tiles(self.offsets, n_rows).rows():
            yield start, self.rows(start, stop, device)

    def rows(self, start: int, stop: int, device: torch.device) -> torch.Tensor:
        """Rows ``start:stop`` of :meth:`on`."""
        if device in self._loaded or self.matrix.is_file:
            return self.on(device)[start:stop]
        if self.matrix.is_sparse:
            return densify(self.csr[start:stop], device)
        return self.matrix.rows(self.groups.order(device)[start:stop])

    def group(self, g: int, device: torch.device) -> torch.Tensor:
        """Rows of group `g`, dense: shape ``(sizes[g], d)``."""
        return self.rows(int(self.offsets[g]), int(self.offsets[g + 1]), device)

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
        return Cells(as_matrix(taken, self.matrix.name), groups, {rows.device: taken})
