"""Kolmogorov and Smirnov's statistic between groups, feature by feature."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.ops.ranks._tally import BITS, Tallies
from pertorch.ops.segment import expand, ragged_max


@final
class DistributionFunctions(NamedTuple):
    """Empirical distribution functions of every feature in every group, as steps.

    Attributes
    ----------
    keys
        As in :class:`Tallies`.
    before, after
        The function below and at each distinct value, float64: shape ``(t,)``.
    lengths
        Steps of each group and feature, shape ``(k, f)``.
    """

    keys: Tensor
    before: Tensor
    after: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, tallies: Tallies, sizes: Tensor) -> DistributionFunctions:
        """Of groups with so many cells each."""
        lengths = tallies.lengths.reshape(len(sizes), -1)
        n = torch.repeat_interleave(sizes.double(), lengths.sum(1))
        return cls(tallies.keys, tallies.below / n, (tallies.below + tallies.counts) / n, lengths)

    def cost(self, left: Tensor, right: Tensor) -> Tensor:
        """Memory that each pair takes in :meth:`statistics`, in steps."""
        n_steps = self.lengths.sum(1)
        return torch.minimum(n_steps[left], n_steps[right])

    def statistics(self, left: Tensor, right: Tensor) -> Tensor:
        """Largest absolute difference of the functions of two groups, for each pair and feature: ``(p, f)``.

        F_x − F_y is largest at a value of X, and F_y − F_x just below one: so one binary search among Y's values for
        each distinct value of X is enough, X being the group with fewer of them.
        """
        n_steps = self.lengths.sum(1)
        swap = n_steps[left] > n_steps[right]
        x, y = torch.where(swap, right, left), torch.where(swap, left, right)
        last = n_steps.cumsum(0)
        step, pair = expand((last - n_steps)[x], n_steps[x])
        query = self.keys[step] + ((y - x) * self.lengths.shape[1] << BITS)[pair]
        begin, end = int((last - n_steps)[y].min()), int(last[y].max())
        at = torch.searchsorted(self.keys[begin:end], query).clamp_(max=end - begin - 1).add_(begin)
        found = self.keys[at]
        # A search that ends beyond the slot has passed all of Y.
        y_before = torch.where((found >= query) & (found >> BITS == query >> BITS), self.before[at], 1.0)
        y_after = torch.where(found == query, self.after[at], y_before)
        differences = torch.maximum(self.after[step] - y_after, y_before - self.before[step])
        return ragged_max(differences, self.lengths[x].flatten()).reshape(len(x), -1)
