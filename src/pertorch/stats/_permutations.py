"""Permuted labels of two groups, as subsets and as weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pertorch.ops.shuffle import MOST_CHOSEN_FROM, choose, chosen
from pertorch.stats._streams import choice_keys, shuffled
from pertorch.stats._weights import Weights

FEW = 10  # a smaller share of the cells than one in so many is drawn by a permutation


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

    @property
    def n_cells(self) -> int:
        """Cells in both groups."""
        return self.n_left + self.n_right

    @property
    def few(self) -> bool:
        """Whether the smaller group is so small that its cells are drawn one by one: a part of what the seed means."""
        return self.n_cells > min(FEW * self.n_small, MOST_CHOSEN_FROM)

    def subset(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Cells of the smaller group in the replicates ``start:stop``: shape ``(stop − start, n_small)``, int64.

        Cells are numbered through both groups, left then right.
        """
        replicate = torch.arange(start, stop, device=device)
        if not self.few:
            return chosen(*choice_keys(self.seed, self.key, replicate, self.n_cells), self.n_small).long()
        position = torch.arange(self.n_small, device=device)
        return shuffled(self.seed, self.key, replicate, position, self.n_cells)

    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """See :class:`Weights`: shape ``(2 (n_left + n_right), stop − start)``."""
        if self.few:
            zeros = torch.zeros(stop - start, self.n_cells, device=device)
            small = zeros.scatter_(1, self.subset(start, stop, device), 1.0).T
        else:
            (small,) = indicators([(self, start, stop)], device)
        left, right = (small, 1 - small) if self.n_left <= self.n_right else (1 - small, small)
        return torch.cat([left, right])


def indicators(pieces: Sequence[tuple[Permutations, int, int]], device: torch.device) -> list[Tensor]:
    """1 for the cells of the smaller group in the replicates ``start:stop`` of permutations that are not `few`.

    Returns
    -------
    For each piece ``(permutations, start, stop)``, shape ``(n_cells, stop − start)``, float32.
    """
    keys = [choice_keys(p.seed, p.key, torch.arange(a, b, device=device), p.n_cells) for p, a, b in pieces]
    return choose([cells for cells, _ in keys], [draws for _, draws in keys], [p.n_small for p, *_ in pieces])
