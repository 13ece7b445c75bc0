"""Counts that lie on a GPU, where every pass over them takes about as long as reading them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import DeviceCsr
from pertorch.data._storage import canonical
from pertorch.exec import may_keep, memory_budget
from pertorch.ops.histogram import Histograms, Tally
from pertorch.pp._check import MOST

_DTYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1")  # which torch computes with on a GPU
_PASS = 2**25  # most entries of a pass
_ENTRY_BYTES = 64  # that its temporaries take for each
_SHARE = 0.8  # of a GPU's free memory that counts and a pass over them may take
_EXACT = 2.0**53  # whole numbers below it are exact in float64


def is_sound(counts: DeviceCsr) -> bool:
    """Whether rows ascend without repeats, and every entry is a whole number from 1 to ``MOST``."""
    values, columns = counts.values, counts.columns
    good = (values >= 1).all() & ((columns >= 0) & (columns < counts.n_columns)).all()
    if values.is_floating_point():
        good &= (values == values.round()).all()
    if values.is_floating_point() or values.dtype == torch.int64:
        good &= (values <= MOST).all()
    # Within rows the columns must rise: all places where they do not are first entries of rows.
    falls = columns[1:] <= columns[:-1]
    first = counts.indptr[:-1][counts.indptr.diff() > 0]
    good &= falls.sum() == falls[first[1:] - 1].sum()
    return bool(good)


def histograms(counts: DeviceCsr) -> Histograms:
    """How often each count occurs in each guide."""
    tally = Tally(counts.n_columns, counts.values.device)
    for _, column, value in _passes(counts):
        tally.add(column, value)
    return tally.histograms()


def above(counts: DeviceCsr, threshold: NDArray[np.float64]) -> sp.csr_array:
    """See :func:`pertorch.pp._counts.above`."""
    least = torch.from_numpy(threshold).to(counts.values.device)
    parts = [
        start + torch.nonzero(value >= (least[column] if least.ndim else least))[:, 0]
        for start, column, value in _passes(counts)
    ]
    entry = torch.cat([counts.indptr.new_zeros(0), *parts])
    indices = counts.columns[entry].cpu().numpy()
    indptr = torch.searchsorted(entry, counts.indptr).to(counts.columns.dtype).cpu().numpy()
    return canonical(np.ones(len(indices), dtype=np.int8), indices, indptr, counts.n_columns)


def largest(counts: DeviceCsr) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """See :func:`pertorch.pp._max_guide.largest_guide`; ``None`` where float64 would round."""
    n_guides = counts.n_columns
    if float(counts.values.max() if len(counts.values) else 0) * n_guides >= _EXACT:
        return None
    # One number holds count and guide: its maximum is the largest count and, among ties, the first guide.
    ranked = (counts.values.double() * n_guides).add_(n_guides - 1).sub_(counts.columns)
    best = torch.segment_reduce(ranked, "max", lengths=counts.indptr.diff(), initial=-1, unsafe=True).long()
    count = torch.div(best, n_guides, rounding_mode="floor")
    guide = torch.where(best >= 0, n_guides - 1 - (best - count * n_guides), -1)
    return guide.cpu().numpy(), count.clamp(min=0).cpu().numpy()


def _passes(counts: DeviceCsr) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Some entries at a time: position of the first, columns, values."""
    step = _step(counts.values.device)
    for i, (column, value) in enumerate(zip(counts.columns.split(step), counts.values.split(step), strict=True)):
        yield i * step, column, value


def _step(device: torch.device) -> int:
    return max(1, min(_PASS, memory_budget(device) // _ENTRY_BYTES))


def resident(stored: Any, device: torch.device) -> DeviceCsr | None:
    """Counts on `device`, if it is a GPU and they are CSR in memory that needs no mending and fits beside its work."""
    if device.type != "cuda" or not sp.issparse(stored) or stored.format != "csr" or stored.ndim != 2:
        return None
    if (
        stored.dtype.kind + str(stored.dtype.itemsize) not in _DTYPES
        or not stored.dtype.isnative
        or stored.shape[1] == 0
    ):
        return None
    n = int(stored.indptr[-1])
    nbytes = n * (stored.dtype.itemsize + stored.indices.itemsize + 16) + _ENTRY_BYTES * min(n, _step(device))
    if not may_keep(nbytes, device, _SHARE):
        return None
    parts = stored.data[:n], stored.indices[:n], stored.indptr.astype(np.int64, copy=False)
    if not all(part.flags.writeable for part in parts):  # torch takes no other
        return None
    out = DeviceCsr.uploaded(parts, stored.shape[1], device)
    return out if is_sound(out) else None
