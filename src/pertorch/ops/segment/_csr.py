"""Group sums and moments of CSR rows on the host, without a dense row: the zeros in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.ops.segment._torch import Moments, about_origin, group_weights

if TYPE_CHECKING:
    import scipy.sparse as sp


def csr_group_sums(rows: sp.csr_array, offsets: Tensor) -> Tensor:
    """As :func:`group_sums` without weights, of a CSR array sorted by group: shape ``(k, 1, d)``."""
    return _sums(rows, offsets, rows.data.astype(np.float64))


def csr_group_moments(rows: sp.csr_array, offsets: Tensor) -> Moments:
    """As :func:`group_moments` without weights, of a CSR array sorted by group."""
    n = group_weights(offsets, None)
    origin = torch.from_numpy(rows[offsets[:-1].numpy()].toarray()).double()[:, None]
    ends = rows.indptr[offsets.numpy()]
    away = rows.data.astype(np.float64)
    for g in np.flatnonzero(np.diff(ends)):
        run = slice(ends[g], ends[g + 1])
        away[run] -= origin[g, 0].numpy().take(rows.indices[run])
    zeros = n - _sums(rows, offsets, np.ones_like(away))
    first = _sums(rows, offsets, away) - zeros * origin
    second = _sums(rows, offsets, np.square(away)) + zeros * origin.square()
    return about_origin(n, origin, first, second)


def _sums(rows: sp.csr_array, offsets: Tensor, values: NDArray[np.float64]) -> Tensor:
    """Sums of `values`, one per stored entry: with a group as one long row, densifying adds what meets in a column."""
    grouped = type(rows)((values, rows.indices, rows.indptr[offsets.numpy()]), shape=(len(offsets) - 1, rows.shape[1]))
    return torch.from_numpy(grouped.toarray())[:, None]
