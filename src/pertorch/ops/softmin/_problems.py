"""What a batch of problems is, and what every implementation gives."""

from __future__ import annotations

from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor


@final
class Side(NamedTuple):
    """One side of each problem of a batch, padded to the largest.

    Attributes
    ----------
    cloud
        Which cloud it is, shape ``(b,)``.
    start, size
        Its rows in the points, each of shape ``(b,)``, int64.
    log_weight
        Logarithm of the weights, shape ``(b, size.max())``, float64; `NOTHING` beyond the cloud.
    """

    cloud: Tensor
    start: Tensor
    size: Tensor
    log_weight: Tensor

    def take(self, kept: Tensor) -> Side:
        """Some of the problems."""
        return Side(*(t[kept] for t in self))

    def positions(self) -> tuple[Tensor, Tensor]:
        """Where the points lie, and which of them are in the cloud: each of shape ``(b, width)``."""
        at = torch.arange(self.log_weight.shape[1], device=self.start.device)
        inside = at < self.size[:, None]
        return torch.where(inside, self.start[:, None] + at, self.start[:, None]), inside


NOTHING = -1e30  # logarithm of no weight: finite, so that no difference of two of them is NaN


class Softmin(Protocol):
    """Soft minima of a batch of problems, over each side. What is kept between calls is an implementation's own affair.

    Beyond a cloud, a potential that goes in is to be that of the cloud's first point; what comes out may be anything.
    """

    def rows(self, beta: Tensor) -> Tensor:
        """``−log Σ_j b_j exp(β_j + s x_i·y_j)``: from shape ``(b, m)`` to ``(b, n)``, float64."""

    def columns(self, alpha: Tensor) -> Tensor:
        """``−log Σ_i a_i exp(α_i + s x_i·y_j)``: from shape ``(b, n)`` to ``(b, m)``, float64."""

    def take(self, kept: Tensor) -> Softmin:
        """Some of the problems."""


class Engine(Protocol):
    """Soft minima for batches of problems between clouds of the same points."""

    def __call__(self, left: Side, right: Side, scale: Tensor) -> Softmin:
        """Start on a batch; `scale` is each problem's s, shape ``(b,)``, float64."""

    def largest_batch(self, total: int) -> int:
        """Numbers ``b · n · m``, of so many in total, that a batch of several problems should have at most."""
