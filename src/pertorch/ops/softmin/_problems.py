"""What the problems are made of, and what every implementation gives."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol, final

import torch
from torch import Tensor

NOTHING = -1e30  # logarithm of no weight: finite, so that no difference of two of them is NaN


@final
class Points(NamedTuple):
    """Weighted points in clouds that lie end to end.

    Attributes
    ----------
    coordinates
        Each cloud centred on its mean, shape ``(n, d)``, float32 or float64.
    log_weight
        Logarithms of weights that sum to 1 within a cloud, shape ``(n,)``, float64.
    norm
        ``|x|²``, shape ``(n,)``, float64.
    offsets
        Cloud ``c`` is ``offsets[c]:offsets[c + 1]``, shape ``(k + 1,)``, int64.
    """

    coordinates: Tensor
    log_weight: Tensor
    norm: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> Points:
        """On a device."""
        return Points(*(t.to(device) for t in self))

    def places(self, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """First point and number of points of some clouds."""
        return self.offsets[cloud], self.offsets.diff()[cloud]


@final
class Errors(NamedTuple):
    """What a look at the potentials tells of each problem, shape ``(b,)`` each, float64, on the CPU.

    Attributes
    ----------
    marginal
        L1 errors of both marginals, added up.
    divergence
        Kullback-Leibler divergence of the columns' marginal from theirs.
    value
        ``⟨a, α⟩ + ⟨b, β⟩``.
    """

    marginal: Tensor
    divergence: Tensor
    value: Tensor


class Potentials(Protocol):
    """α and β of a batch of problems, on their way to be each other's soft minima.

    They start at ``α_i = −s |x_i|² / 2``. Where the two clouds of each problem are one (twins) so are the potentials,
    and a step goes half the way to the soft minimum, whatever ω is. What there is one number of in a problem, shape
    ``(b,)``, comes and goes on the CPU, where it is decided how to go on: a look waits for the device once.
    """

    shrink: ClassVar[float]  # take() pays where no more than this share of the problems is left

    def look(self) -> Errors:
        """Errors before the next step, whose soft minima of the columns are kept for it."""

    def step(self, omega: Tensor, times: int = 1) -> None:
        """β and then α go to ``(1 − ω)`` old + ω soft minimum, with each problem's ω, float64."""

    def value(self) -> Tensor:
        """``⟨a, α⟩ + ⟨b, β⟩``, float64."""

    def take(self, kept: Tensor) -> None:
        """Go on with some of the problems."""


class Engine(Protocol):
    """Potentials for batches of problems between clouds of the same points."""

    def batches(self, rows: Tensor, columns: Tensor, shares: int) -> list[Tensor]:
        """Cut problems of so many rows and columns, on the CPU, into batches.

        `shares` is the number of devices that are to divide them. Where a problem's bits depend on the batch that it is
        in, the batches do not depend on that.
        """

    def __call__(self, left: Tensor, right: Tensor, scale: Tensor, *, twins: bool) -> Potentials:
        """Start on a batch: clouds of the rows and of the columns, and each problem's s, shape ``(b,)``, float64."""
