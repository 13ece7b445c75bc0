"""U by rows in torch: the truth that the Triton program is held to."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.ops.mann_whitney._controls import SortedControls
from pertorch.ops.segment import batches, expand

AT_ONCE = 2**24  # stored values


def add_excess(
    out: Tensor,
    values: Tensor,
    columns: Tensor,
    indptr: Tensor,
    rows: Tensor,
    groups: Tensor,
    controls: SortedControls,
) -> None:
    """See :func:`pertorch.ops.mann_whitney.add_excess`."""
    if not len(rows):
        return
    start = indptr[rows]
    lengths = indptr[rows + 1] - start
    for part in batches(lengths, AT_ONCE):
        at, run = expand(start[part], lengths[part])
        gene = columns[at].long()
        excess = _twice_below(values[at], gene, controls) - controls.of_zero[gene]
        out.view(-1).index_add_(0, groups[part][run] * out.shape[1] + gene, excess)


def _twice_below(x: Tensor, gene: Tensor, controls: SortedControls) -> Tensor:
    """Twice the controls below each value, and once those equal to it."""
    first, last = controls.starts[gene], controls.starts[gene + 1]
    left = _search(x, first, last, controls, above=False)
    right = _search(x, left, last, controls, above=True)
    return left + right - 2 * first + controls.zeros[gene] * (1 + x.sign().long())


def _search(x: Tensor, low: Tensor, high: Tensor, controls: SortedControls, *, above: bool) -> Tensor:
    """First position in ``[low, high)`` whose control is not below `x`, or (`above`) is above it."""
    for _ in range(controls.longest.bit_length()):
        middle = (low + high) // 2
        there = controls.values[middle.clamp(max=len(controls.values) - 1)]
        goes_right = (low < high) & ((there <= x) if above else (there < x))
        low = torch.where(goes_right, middle + 1, low)
        high = torch.where(goes_right, high, middle)
    return low
