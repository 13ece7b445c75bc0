"""The controls of every gene in order."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor


@final
class SortedControls(NamedTuple):
    """The control's stored values, gene by gene and ascending within a gene.

    Attributes
    ----------
    values
        Shape ``(c,)``.
    starts
        Shape ``(g + 1,)``, int64: gene ``j`` is ``values[starts[j]:starts[j + 1]]``.
    zeros
        Shape ``(g,)``, int64: controls that store nothing.
    of_zero
        Shape ``(g,)``, int64: twice the controls below zero, and once those at zero.
    longest
        Most values that a gene has.
    """

    values: Tensor
    starts: Tensor
    zeros: Tensor
    of_zero: Tensor
    longest: int

    @classmethod
    def of(cls, values: Tensor, columns: Tensor, n_controls: int, n_columns: int) -> SortedControls:
        """From what `n_controls` cells store, in any order."""
        ascending, order = values.sort()
        genes, order = columns[order].sort(stable=True)
        ascending = ascending[order]
        bounds = torch.arange(n_columns + 1, device=genes.device, dtype=genes.dtype)
        starts = torch.searchsorted(genes, bounds)
        zeros = n_controls - starts.diff()
        of_zero = zeros + _counts(ascending < 0, starts) + _counts(ascending <= 0, starts)
        return cls(ascending, starts, zeros, of_zero, int(starts.diff().max()) if n_columns else 0)


def _counts(true: Tensor, starts: Tensor) -> Tensor:
    """How many of each gene's values."""
    return torch.nn.functional.pad(true.cumsum(0), (1, 0))[starts].diff()
