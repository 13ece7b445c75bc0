"""Some rows and columns of a matrix in a file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data._storage._base import OnFile, Rows, long_runs

Index = NDArray[np.int64]


class FilePart(NamedTuple):
    """What a view holds of an array in a file, which nobody has read: positions of its rows, and of its columns."""

    whole: Any
    rows: Index
    columns: Index | None


@final
class FileView(OnFile):
    """Rows in any order, and of them some columns, of what is read in its own order."""

    def __init__(self, whole: OnFile, rows: Index, columns: Index | None) -> None:
        super().__init__(whole.name)
        self._whole, self._rows, self._columns = whole, rows, columns
        self.shape = (len(rows), whole.shape[1] if columns is None else len(columns))
        self.dtype, self.is_sparse = whole.dtype, whole.is_sparse

    @property
    def entries_per_row(self) -> float:
        """As though all rows and columns were alike."""
        return self._whole.entries_per_row * self.shape[1] / max(1, self._whole.shape[1])

    @property
    def entry_bytes(self) -> int:
        """See :class:`OnFile`."""
        return self._whole.entry_bytes

    @cached_property
    def _ascends(self) -> bool:
        return not np.any(np.diff(self._rows) < 0)

    def runs(self, nbytes: int) -> Iterator[slice]:
        """Those of the file, where rows ascend; else each takes a pass over the file, and is as long as may be."""
        if not self._ascends:
            yield from long_runs(self, nbytes)
            return
        for run in self._whole.runs(nbytes):
            low, high = np.searchsorted(self._rows, [run.start, run.stop])
            if low < high:
                yield slice(int(low), int(high))

    def read(self, rows: slice) -> Rows:
        """See :class:`Storage`."""
        found = self.take(torch.arange(rows.start, rows.stop), None)
        return found if self.is_sparse else found.numpy()

    def take(self, index: torch.Tensor, columns: Index | None) -> Rows:
        """See :class:`Storage`."""
        if self._columns is not None:
            columns = self._columns if columns is None else self._columns[columns]
        return self._whole.take(torch.from_numpy(self._rows).to(index.device)[index], columns)
