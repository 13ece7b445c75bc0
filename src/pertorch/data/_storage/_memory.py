"""Matrices in the memory of the host or of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data._storage._base import Storage, csr_run, entry_runs, row_runs
from pertorch.exec import upload

FEW_COLUMNS = 8  # below one in so many, single values are picked from a dense matrix, else whole rows


@final
class HostArray(Storage):
    """A dense numpy array in C order."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    @property
    def host(self) -> torch.Tensor:
        """See :class:`Storage`."""
        return torch.from_numpy(self.values)

    def runs(self, nbytes: int) -> Iterator[slice]:
        """See :class:`Storage`."""
        return row_runs(self.shape[0], self.shape[1] * self.values.itemsize, nbytes)

    def read(self, rows: slice) -> NDArray[Any]:
        """A view."""
        return self.values[rows]

    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> torch.Tensor:
        """See :class:`Storage`."""
        if index.device.type != "cpu":
            return TorchArray(self.host).take(index, columns)
        rows = index.cpu().numpy()
        out = self.values[rows] if columns is None else self.values[np.ix_(rows, columns)]
        return torch.from_numpy(np.ascontiguousarray(out)).to(index.device)


@final
class TorchArray(Storage):
    """A dense tensor, on any device."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.shape, self.dtype = values, (values.shape[0], values.shape[1]), values.dtype

    @property
    def host(self) -> torch.Tensor | None:
        """See :class:`Storage`."""
        return self.values if self.values.device.type == "cpu" else None

    def runs(self, nbytes: int) -> Iterator[slice]:
        """See :class:`Storage`."""
        return row_runs(self.shape[0], self.shape[1] * self.values.itemsize, nbytes)

    def read(self, rows: slice) -> torch.Tensor:
        """A view, or a copy where it lies on a GPU."""
        return self.values[rows].cpu()

    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> torch.Tensor:
        """See :class:`Storage`."""
        values, device = self.values, index.device
        if columns is not None and few(columns, self.shape[1]):
            return values[index.to(values.device)[:, None], torch.from_numpy(columns).to(values.device)].to(device)
        out = values[index] if values.device == device else _sent(values, index, device)
        return out if columns is None else out[:, torch.from_numpy(columns).to(device)]


@final
class CsrArray(Storage):
    """CSR in canonical form, in host memory."""

    is_sparse = True

    def __init__(self, values: sp.csr_array) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    @property
    def entries_per_row(self) -> float:
        """See :class:`Storage`."""
        return self.values.nnz / max(1, self.shape[0])

    def runs(self, nbytes: int) -> Iterator[slice]:
        """See :class:`Storage`."""
        return entry_runs(self.values.indptr, nbytes // (self.values.dtype.itemsize + self.values.indices.itemsize))

    def read(self, rows: slice) -> sp.csr_array:
        """A view."""
        return csr_run(self.values, rows)

    def take(self, index: torch.Tensor, columns: NDArray[np.int64] | None) -> sp.csr_array:
        """See :class:`Storage`."""
        rows = self.values[index.cpu().numpy()]
        return rows if columns is None else rows[:, columns]


def few(columns: NDArray[np.int64] | None, n_columns: int) -> bool:
    """Whether so few columns are wanted that whole rows are not worth reading."""
    return columns is not None and len(columns) * FEW_COLUMNS < n_columns


def _sent(values: torch.Tensor, index: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows of a host's tensor on a device.

    A copy runs at the bus's speed in the order of storage: rows that lie close together are sent with what lies between
    them, and the device picks.
    """
    if not len(index):
        return values[:0].to(device)
    first, last = (int(end) for end in torch.aminmax(index))
    if 2 * len(index) < last + 1 - first:
        return upload(values, device, index)
    return upload(values[first : last + 1], device)[index - first]
