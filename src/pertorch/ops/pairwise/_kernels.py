"""κ: what a pair of cells contributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final, get_args

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)
NOISE = 1e-5  # d² / (|x|² + |y|²): a hundred times the error of a float32 product, thirty times that of three of fp16
KernelName = Literal["euclidean", "sqeuclidean", "rbf", "poly"]


@final
@dataclass(frozen=True)
class Kernel:
    """A function κ of two cells.

    Parameters
    ----------
    name
        ``"euclidean"``: ``d = |x − y|``. ``"sqeuclidean"``: ``d²``. ``"rbf"``: ``exp(−γ d²)``.
        ``"poly"``: ``(γ x·y)^degree``.
    gamma
        γ of ``"rbf"`` and ``"poly"``.
    degree
        Of ``"poly"``.
    """

    name: KernelName
    gamma: float = 1.0
    degree: int = 2

    def __post_init__(self) -> None:
        if self.name not in get_args(KernelName):
            raise ValueError(f"kernel {self.name!r} is not one of: {', '.join(get_args(KernelName))}.")

    @property
    def of_distance(self) -> bool:
        """Whether κ depends on the distance alone, so that translation changes nothing."""
        return self.name != "poly"

    def apply(self, tile: Tensor) -> Tensor:
        """κ of a tile of squared distances, or of dot products where κ is one of those; in place."""
        if self.name == "euclidean":
            return tile.sqrt_()
        if self.name == "rbf":
            return tile.mul_(-self.gamma).exp_()
        return tile.mul_(self.gamma).pow_(self.degree) if self.name == "poly" else tile

    def slope(self, squared: Tensor) -> Tensor:
        """``|dκ / d(d²)|``."""
        if self.name == "euclidean":
            return 0.5 * squared.abs().rsqrt()
        return self.gamma * (-self.gamma * squared).exp() if self.name == "rbf" else torch.ones_like(squared)


def surely(kernel: Kernel, smallest: Number, largest: Number, most: float) -> Any:
    """Whether the extremes of a block show that its error is within the limit.

    Parameters
    ----------
    kernel
        κ.
    smallest, largest
        Of ``d²`` and of ``|x|² + |y|²``: of one block, or of several.
    most
        The limit, see :func:`limit`.
    """
    return kernel.gamma * largest <= most if kernel.name == "rbf" else smallest * most >= largest


def limit(smaller: Number) -> Number:
    """Largest trusted ``Σ slope (|x|² + |y|²) / Σ κ`` of a block whose smaller group has so many cells.

    ``d² = |x|² + |y|² − 2 x·y`` errs in single precision by about 1e-7 of the norms, however small it is, and κ by its
    slope times that. What rounding does to a cell is common to all pairs of that cell and independent of the other
    cells, so the mean of an n × m block errs by ``1e-7 Σ slope (|x|² + |y|²) / Σ κ / √min(n, m)``. That is kept at
    5e-7 or less: a block past the limit is computed again, from differences of the values as given. On a CPU, so is one
    with a pair below `NOISE`, whose distance may be nothing but rounding, and that always too large.
    """
    return 5 * smaller**0.5
