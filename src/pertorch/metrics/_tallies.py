"""From cells to tallies of distinct values, and to what a metric makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from pertorch.exec import map_threads, upload
from pertorch.ops.ranks import Tallies, tally, value_table
from pertorch.ops.segment import batches, join

if TYPE_CHECKING:
    import scipy.sparse as sp

    from pertorch.data import Cells

T = TypeVar("T")
CHUNK_ENTRIES = {"cpu": 2**23, "cuda": 2**25}  # tallied in one run of features, at up to 60 bytes each


def from_tallies(cells: Cells, device: torch.device, make: Callable[[Tallies, Tensor], T], most: int) -> Iterator[T]:
    """``make(tallies, sizes)`` of groups with `most` entries at a time, joined, for successive runs of features.

    Of a sparse matrix only stored entries are touched. What is made is a tensor or a named tuple of tensors, whose
    first axis goes by group, by group and feature, or by distinct value.
    """
    sparse, n_features = cells.matrix.is_sparse, cells.n_features
    n_entries = cells.csr.nnz + len(cells.sizes) * n_features if sparse else int(cells.offsets[-1]) * n_features
    n_chunks = -(-n_entries // CHUNK_ENTRIES[device.type])
    if n_chunks == 1:
        yield _make(cells.csr if sparse else cells.on(device), cells.offsets, device, make, most)
        return
    columns: Any = cells.csr.tocsc() if sparse else cells.on(device)
    step = -(-n_features // n_chunks)
    for start in range(0, n_features, step):
        chunk = columns[:, start : start + step]
        yield _make(chunk.tocsr() if sparse else chunk, cells.offsets, device, make, most)


def _make(rows: Any, offsets: Tensor, device: torch.device, make: Callable[[Tallies, Tensor], T], most: int) -> T:
    dense, f = isinstance(rows, Tensor), rows.shape[1]
    table = value_table(rows.reshape(-1) if dense else upload(torch.from_numpy(rows.data), device))
    cost = offsets.diff() * f if dense else torch.from_numpy(rows.indptr).long()[offsets].diff()

    def work(groups: slice) -> T:
        cuts, span = offsets[groups.start : groups.stop + 1], range(groups.start * f, groups.stop * f)
        piece, sizes = rows[int(cuts[0]) : int(cuts[-1])], cuts.diff().to(device)
        return make((_dense if dense else _sparse)(piece, sizes, span, table), sizes)

    return join(list(map_threads(work, batches(cost, most), device)))


def _dense(rows: Tensor, sizes: Tensor, span: range, table: Tensor | None) -> Tallies:
    first = torch.repeat_interleave(torch.arange(span.start, span.stop, rows.shape[1], device=rows.device), sizes)
    slots = first[:, None] + torch.arange(rows.shape[1], device=rows.device)
    return tally(slots.flatten(), rows.contiguous().view(-1), span, table=table)


def _sparse(rows: sp.csr_array, sizes: Tensor, span: range, table: Tensor | None) -> Tallies:
    f, device = rows.shape[1], sizes.device
    columns, values, ends = (upload(torch.from_numpy(a), device) for a in (rows.indices, rows.data, rows.indptr))
    stored = ends.long()[torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])].diff()
    first = torch.repeat_interleave(torch.arange(span.start, span.stop, f, device=device), stored)
    slots = first + columns
    zeros = torch.repeat_interleave(sizes, f) - torch.bincount(slots - span.start, minlength=len(span))
    return tally(slots, values, span, zeros, table)
