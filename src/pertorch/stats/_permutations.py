"""Permuted labels of two groups, as subsets and as weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pertorch.stats._streams import shuffled
from pertorch.stats._weights import Weights


@final
@dataclass(frozen=True)
class Permutations(Weights):
    """Each replicate deals the cells of two groups out again, at the groups' own sizes.

    As weights they belong to the cells of both groups, twice over: first as left group, then as right group. A cell
    counts in one of the two.

    Parameters
    ----------
    n_left, n_right
        Cells in each group.
    key
        The random stream: a function of the names of the groups.
    n_replicates
        Number of permutations.
    seed
        Seed.
    """

    n_left: int
    n_right: int
    key: int
    n_replicates: int
    seed: int

    @property
    def n_small(self) -> int:
        """Cells in the smaller group."""
        return min(self.n_left, self.n_right)

    def subset(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Cells of the smaller group in the replicates ``start:stop``: shape ``(stop − start, n_small)``, int64.

        Cells are numbered through both groups, left then right.
        """
        replicate = torch.arange(start, stop, device=device)
        position = torch.arange(self.n_small, device=device)
        return shuffled(self.seed, self.key, replicate, position, self.n_left + self.n_right)

    def indicator(self, start: int, stop: int, device: torch.device) -> Tensor:
        """1 for the cells of the smaller group: shape ``(n_left + n_right, stop − start)``, float32."""
        subset = self.subset(start, stop, device)
        out = torch.zeros(len(subset), self.n_left + self.n_right, device=device)
        return out.scatter_(1, subset, 1.0).T

    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """See :class:`Weights`: shape ``(2 (n_left + n_right), stop − start)``."""
        small = self.indicator(start, stop, device)
        left, right = (small, 1 - small) if self.n_left <= self.n_right else (1 - small, small)
        return torch.cat([left, right])
