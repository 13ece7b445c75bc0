"""Which group meets which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of groups: ``left`` is X and ``right`` is Y of the metric.

    Attributes
    ----------
    left, right
        Positions of groups, each of shape ``(p,)``, int64, on one device.
    are_distinct
        Whether it is known that no pair stands twice, in either order where that means the same, nor is of one group.
    """

    left: Tensor
    right: Tensor
    are_distinct: bool = False

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def all(cls, n_groups: int, *, symmetric: bool, device: torch.device | None = None) -> Pairs:
        """Every pair of distinct groups, one of (a, b) and (b, a) where the metric is symmetric."""
        left, right = torch.triu_indices(n_groups, n_groups, 1, device=device)
        if not symmetric:
            left, right = torch.cat([left, right]), torch.cat([right, left])
        return cls(left, right, are_distinct=True)

    @classmethod
    def onesided(cls, targets: Sequence[int], references: Sequence[int]) -> Pairs:
        """Every target with every reference: pair ``i · len(references) + j``."""
        left, right = (
            torch.cartesian_prod(*(torch.tensor(g, dtype=torch.int64) for g in (targets, references))).reshape(-1, 2).T
        )
        return cls(left, right)

    def __getitem__(self, which: slice | Tensor) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.left[which], self.right[which], self.are_distinct)

    def cpu(self) -> Pairs:
        """The same on the host."""
        return Pairs(self.left.cpu(), self.right.cpu(), self.are_distinct)

    def distinct(self, n_groups: int, *, symmetric: bool) -> tuple[Pairs, Tensor]:
        """The pairs worth computing, and where to find each of ours among them: −1 for a group with itself."""
        left, right = self.left, self.right
        if self.are_distinct:
            return self, torch.arange(len(self), device=self.left.device)
        if symmetric:
            left, right = torch.minimum(left, right), torch.maximum(left, right)
        codes = left * n_groups + right
        apart = left != right
        kept, where = torch.unique(codes[apart], return_inverse=True)
        position = torch.full((len(self),), -1)
        position[apart] = where
        return Pairs(torch.div(kept, n_groups, rounding_mode="floor"), kept % n_groups), position
