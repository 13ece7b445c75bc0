"""How often each cell counts in each replicate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from pertorch.stats._streams import uniform

DRAWN = {"cpu": 2**17, "cuda": 2**26}  # random numbers at once: on a CPU what stays in its caches (five times as fast)


class Weights(ABC):
    """Replicates of a data set as non-negative integer weights of its cells, made on demand, column by column."""

    n_replicates: int
    keeps_sizes: ClassVar[bool] = False  # whether the weights of each group add up to its cells, in every replicate

    @abstractmethod
    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Weights of the replicates ``start:stop``, shape ``(n, stop − start)``, float32, on `device`.

        Cells are in group order, as in :class:`pertorch.data.Cells`.
        """

    def part(self, groups: slice | list[int]) -> Weights | None:
        """The weights of some groups, if they can be had without the others."""
        del groups
        return None


@final
class Columns:
    """Some replicates of the cells, made where and when they are wanted.

    Parameters
    ----------
    weights
        What makes them.
    offsets
        Shape ``(k + 1,)``, int64, on the CPU: where each group begins in group order.
    start, stop
        First replicate and one past the last.
    """

    def __init__(self, weights: Weights, offsets: Tensor, start: int, stop: int) -> None:
        self.weights, self.offsets, self.start, self.stop = weights, offsets, start, stop
        self._whole: dict[torch.device, Tensor] = {}

    @property
    def n_replicates(self) -> int:
        """How many replicates."""
        return self.stop - self.start

    def on(self, device: torch.device) -> Tensor:
        """All of them, shape ``(n, r)``, float32; kept."""
        if device not in self._whole:
            self._whole[device] = self.weights.columns(self.start, self.stop, device)
        return self._whole[device]

    def of(self, groups: slice, device: torch.device) -> Tensor:
        """Those of the cells of a run of groups, without the others where that can be."""
        first, last, _ = groups.indices(len(self.offsets) - 1)
        part = None if self._whole or last - first == len(self.offsets) - 1 else self.weights.part(slice(first, last))
        if part is not None:
            return part.columns(self.start, self.stop, device)
        return self.on(device)[int(self.offsets[first]) : int(self.offsets[last])]

    def part(self, groups: slice | list[int]) -> Columns:
        """The replicates of some groups."""
        weights, sizes = self.weights.part(groups), self.offsets.diff()[groups]
        assert weights is not None
        return Columns(weights, torch.nn.functional.pad(sizes.cumsum(0), (1, 0)), self.start, self.stop)


@final
class Given(Weights):
    """Weights that are there already: shape ``(n, r)``, float32."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.n_replicates = values, values.shape[1]

    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """See :class:`Weights`."""
        return self.values[:, start:stop].to(device)


@final
@dataclass(frozen=True)
class Bootstrap(Weights):
    """Each replicate draws every group once, with replacement, at its own size (Efron 1979).

    Parameters
    ----------
    offsets
        Shape ``(k + 1,)``, int64: where each group begins in group order.
    keys
        Shape ``(k,)``, int64: the stream of each group. A group's draws depend on its key, the seed and the replicate
        alone, so each verb and each subset of groups sees the same replicates.
    n_replicates
        Number of replicates.
    seed
        Seed.
    """

    keeps_sizes: ClassVar[bool] = True
    offsets: Tensor
    keys: Tensor
    n_replicates: int
    seed: int

    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """See :class:`Weights`."""
        offsets = self.offsets.to(device)
        sizes = offsets.diff()
        n, replicate = int(self.offsets[-1]), torch.arange(start, stop, device=device)
        group = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes, output_size=n)
        key, size, first = (of[group][:, None] for of in (self.keys.to(device), sizes, offsets))
        draw = torch.arange(n, device=device)[:, None] - first
        counts = torch.zeros(n, len(replicate), dtype=torch.float32, device=device)  # whole numbers far below 2²⁴
        step = max(1, DRAWN[device.type] // max(1, len(replicate)))
        for keys, draws, most, begin in zip(*(of.split(step) for of in (key, draw, size, first)), strict=True):
            chosen = begin + (uniform(self.seed, keys, replicate, draws) * most).long()
            counts.scatter_add_(0, chosen, counts.new_ones(1, 1).expand_as(chosen))
        return counts

    def part(self, groups: slice | list[int]) -> Bootstrap:
        """See :class:`Weights`."""
        sizes = self.offsets.diff()[groups]
        return replace(self, offsets=torch.nn.functional.pad(sizes.cumsum(0), (1, 0)), keys=self.keys[groups])
