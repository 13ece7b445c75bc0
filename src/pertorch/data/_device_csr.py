"""CSR on a device, as it is stored: rows are gathered and made dense there."""

from __future__ import annotations

from typing import NamedTuple, final

import scipy.sparse as sp
import torch
from torch import Tensor

from pertorch.ops.segment import expand

ENTRIES = 2**23  # placed at once: bounds what their positions take


@final
class DeviceCsr(NamedTuple):
    """Stored entries of a CSR matrix.

    Attributes
    ----------
    values, columns
        Of each entry, row after row: shape ``(nnz,)``.
    ends
        Row ``i`` is entries ``ends[i]:ends[i + 1]``, int64.
    n_features
        Columns of the matrix.
    """

    values: Tensor
    columns: Tensor
    ends: Tensor
    n_features: int

    @classmethod
    def of(cls, matrix: sp.csr_array, dtype: torch.dtype, device: torch.device) -> DeviceCsr:
        """A copy on `device`: one transfer at the bus's speed, for the order of rows does not matter."""
        values, columns, ends = (torch.from_numpy(a).to(device) for a in (matrix.data, matrix.indices, matrix.indptr))
        return cls(values.to(dtype), columns, ends.long(), matrix.shape[1])

    def rows(self, index: Tensor) -> Tensor:
        """These rows, dense, in the order asked for: shape ``(len(index), n_features)``."""
        out = self.values.new_zeros(len(index), self.n_features)
        step = max(1, ENTRIES * (len(self.ends) - 1) // max(1, len(self.values)))
        for some, into in zip(index.split(step), out.split(step), strict=True):
            start = self.ends[some]
            entry, row = expand(start, self.ends[some + 1] - start)
            into.view(-1).index_put_((row * self.n_features + self.columns[entry],), self.values[entry])
        return out
