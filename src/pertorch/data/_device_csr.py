"""A sparse matrix that lies on a device, read there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.exec import upload
from pertorch.ops.segment import expand

if TYPE_CHECKING:
    import scipy.sparse as sp

LOOKED_AT = 2**26  # values checked at once
PLACED = 2**25  # entries made dense at once, on average: bounds what their positions take


@final
class DeviceCsr(NamedTuple):
    """Compressed rows.

    Attributes
    ----------
    values
        Shape ``(nnz,)``: float32 or float64; of guide counts as they are stored.
    columns
        Shape ``(nnz,)``, int32; of guide counts as they are stored.
    indptr
        Shape ``(n + 1,)``, int64.
    n_columns
        Columns of the matrix.
    """

    values: Tensor
    columns: Tensor
    indptr: Tensor
    n_columns: int

    @classmethod
    def of(cls, rows: sp.csr_array, dtype: torch.dtype, device: torch.device) -> DeviceCsr:
        """A copy of one on the host, in `dtype`."""
        values = rows.data.astype(np.float64 if dtype == torch.float64 else np.float32, copy=False)
        columns, indptr = rows.indices.astype(np.int32, copy=False), rows.indptr.astype(np.int64)
        return cls.uploaded((values, columns, indptr), rows.shape[1], device)

    @classmethod
    def uploaded(cls, parts: Sequence[NDArray[Any]], n_columns: int, device: torch.device) -> DeviceCsr:
        """A copy of one whose values, columns and indptr are on the host."""
        values, columns, indptr = (upload(torch.from_numpy(part), device) for part in parts)
        return cls(values, columns, indptr, n_columns)

    @classmethod
    def of_dense(cls, block: Tensor) -> DeviceCsr:
        """Every value of a dense block as a stored one."""
        n, p = block.shape
        columns = torch.arange(p, dtype=torch.int32, device=block.device).repeat(n)
        return cls(block.reshape(-1), columns, torch.arange(n + 1, device=block.device) * p, p)

    @property
    def all_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return all(bool(torch.isfinite(part).all()) for part in self.values.split(LOOKED_AT))

    def to(self, device: torch.device) -> DeviceCsr:
        """A copy on another device."""
        return DeviceCsr(self.values.to(device), self.columns.to(device), self.indptr.to(device), self.n_columns)

    def take(self, rows: Tensor) -> DeviceCsr:
        """Some rows, in this order."""
        start = self.indptr[rows]
        lengths = self.indptr[rows + 1] - start
        at, _ = expand(start, lengths)
        indptr = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        return DeviceCsr(self.values[at], self.columns[at], indptr, self.n_columns)

    def dense(self, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """Some rows, of them all columns or some, as a dense block."""
        wanted, width = None, self.n_columns
        if columns is not None:
            wanted = torch.full((width,), -1, dtype=torch.int64, device=rows.device)
            width = len(columns)
            wanted[columns] = torch.arange(width, device=rows.device)
        out = torch.zeros(len(rows), width, dtype=self.values.dtype, device=rows.device)
        step = max(1, PLACED * (len(self.indptr) - 1) // max(1, len(self.values)))
        for some, block in zip(rows.split(step), out.split(step), strict=True):
            self._place(some, wanted, block)
        return out

    def _place(self, rows: Tensor, wanted: Tensor | None, out: Tensor) -> None:
        """Entries of some rows where they belong in a block of zeros; `wanted` says which column of it, or −1."""
        start = self.indptr[rows]
        at, run = expand(start, self.indptr[rows + 1] - start)
        place = self.columns[at].long()
        if wanted is not None:
            place = wanted[place]
            kept = torch.nonzero(place >= 0)[:, 0]
            at, run, place = at[kept], run[kept], place[kept]
        out.view(-1)[run.mul_(out.shape[1]).add_(place)] = self.values[at]
