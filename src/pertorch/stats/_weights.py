"""How often each cell counts in each replicate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pertorch.stats._streams import uniform


class Weights(ABC):
    """Replicates of a data set as non-negative integer weights of its cells, made on demand, column by column."""

    n_replicates: int

    @abstractmethod
    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Weights of the replicates ``start:stop``, shape ``(n, stop − start)``, float32, on `device`.

        Cells are in group order, as in :class:`pertorch.data.Cells`.
        """


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

    offsets: Tensor
    keys: Tensor
    n_replicates: int
    seed: int

    def columns(self, start: int, stop: int, device: torch.device) -> Tensor:
        """See :class:`Weights`."""
        offsets = self.offsets.to(device)
        sizes = offsets.diff()
        n, r = int(self.offsets[-1]), stop - start
        group = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes, output_size=n)
        first = offsets[group][:, None]
        draw = torch.arange(n, device=device)[:, None] - first
        replicate = torch.arange(start, stop, device=device)
        u = uniform(self.seed, self.keys.to(device)[group][:, None], replicate, draw)
        chosen = first + (u * sizes[group][:, None]).long()
        counts = torch.zeros(n, r, dtype=torch.int32, device=device)
        return counts.scatter_add_(0, chosen, torch.ones_like(counts)).float()
