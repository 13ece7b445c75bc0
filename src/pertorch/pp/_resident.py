"""Counts that lie on a GPU, where every pass over them takes about as long as reading them."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data._storage import canonical
from pertorch.exec import upload
from pertorch.ops.histogram import Histograms, Tally
from pertorch.pp._check import MOST

_DTYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1")  # which torch computes with on a GPU
_PASS = 2**25  # entries of a pass: its temporaries are a few times eight bytes each
_EXACT = 2.0**53  # whole numbers below it are exact in float64


@final
class Resident:
    """A CSR matrix on a GPU.

    Parameters
    ----------
    data, indices, indptr
        As in scipy.
    n_guides
        Number of columns.
    """

    def __init__(self, data: Tensor, indices: Tensor, indptr: Tensor, n_guides: int) -> None:
        self.data, self.indices, self.indptr, self.n_guides = data, indices, indptr, n_guides

    def is_sound(self) -> bool:
        """Whether rows ascend without repeats, and every entry is a whole number from 1 to ``MOST``."""
        data, indices = self.data, self.indices
        good = (data >= 1).all() & ((indices >= 0) & (indices < self.n_guides)).all()
        if data.is_floating_point():
            good &= (data == data.round()).all()
        if data.is_floating_point() or data.dtype == torch.int64:
            good &= (data <= MOST).all()
        # Within rows the indices must rise: all places where they do not are first entries of rows.
        falls = indices[1:] <= indices[:-1]
        first = self.indptr[:-1][self.indptr.diff() > 0]
        good &= falls.sum() == falls[first[1:] - 1].sum()
        return bool(good)

    def histograms(self) -> Histograms:
        """How often each count occurs in each guide."""
        tally = Tally(self.n_guides, self.data.device)
        for column, value in zip(self.indices.split(_PASS), self.data.split(_PASS), strict=True):
            tally.add(column, value)
        return tally.histograms()

    def above(self, threshold: NDArray[np.float64]) -> sp.csr_array:
        """See :func:`pertorch.pp._counts.above`."""
        least = torch.from_numpy(threshold).to(self.data.device)
        parts = [
            start * _PASS + torch.nonzero(value >= (least[column] if least.ndim else least))[:, 0]
            for start, (column, value) in enumerate(zip(self.indices.split(_PASS), self.data.split(_PASS), strict=True))
        ]
        entry = torch.cat([self.indptr.new_zeros(0), *parts])
        indices = self.indices[entry].cpu().numpy()
        indptr = torch.searchsorted(entry, self.indptr).to(self.indices.dtype).cpu().numpy()
        return canonical(np.ones(len(indices), dtype=np.int8), indices, indptr, self.n_guides)

    def largest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """See :func:`pertorch.pp._max_guide.largest_guide`; ``None`` where float64 would round."""
        if float(self.data.max() if len(self.data) else 0) * self.n_guides >= _EXACT:
            return None
        # One number holds count and guide: its maximum is the largest count and, among ties, the first guide.
        ranked = (self.data.double() * self.n_guides).add_(self.n_guides - 1).sub_(self.indices)
        best = torch.segment_reduce(ranked, "max", lengths=self.indptr.diff(), initial=-1, unsafe=True).long()
        count = torch.div(best, self.n_guides, rounding_mode="floor")
        guide = torch.where(best >= 0, self.n_guides - 1 - (best - count * self.n_guides), -1)
        return guide.cpu().numpy(), count.clamp(min=0).cpu().numpy()


def resident(stored: Any, device: torch.device) -> Resident | None:
    """Counts on `device`, if it is a GPU and they are CSR in memory that needs no mending and fits beside its work."""
    if device.type != "cuda" or not sp.issparse(stored) or stored.format != "csr" or stored.ndim != 2:
        return None
    if (
        stored.dtype.kind + str(stored.dtype.itemsize) not in _DTYPES
        or not stored.dtype.isnative
        or stored.shape[1] == 0
    ):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    n = int(stored.indptr[-1])
    if n * (stored.dtype.itemsize + stored.indices.itemsize + 16) + 64 * min(n, _PASS) > 0.8 * free:
        return None
    parts = stored.data[:n], stored.indices[:n], stored.indptr.astype(np.int64, copy=False)
    if not all(part.flags.writeable for part in parts):  # torch takes no other
        return None
    data, indices, indptr = (upload(torch.from_numpy(part), device) for part in parts)
    out = Resident(data, indices, indptr, stored.shape[1])
    return out if out.is_sound() else None
