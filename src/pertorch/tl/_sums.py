"""Sums over the cells of each target and of the controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.tl._screen import Split


@final
class Sums(NamedTuple):
    """What the tests are made of, each ``(1 + targets, genes)``, float64, the control first.

    Attributes
    ----------
    values
        Sums.
    powers
        U where ranks were asked for (the control's own means nothing), else sums of squares.
    """

    values: Tensor
    powers: Tensor

    @classmethod
    def zeros(cls, split: Split, n_genes: int, device: torch.device) -> Sums:
        """Nothing added yet."""
        return cls(*torch.zeros(2, len(split.offsets) - 1, n_genes, dtype=torch.float64, device=device))

    @classmethod
    def join(cls, parts: Sequence[Sums]) -> Sums:
        """Runs of targets, each beside the same controls."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([of[0][:1], *(x[1:] for x in of)]) for of in zip(*parts, strict=True)))
