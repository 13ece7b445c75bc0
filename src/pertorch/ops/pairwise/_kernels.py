"""κ: what a pair of cells contributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

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

    def trust_below(self, smaller: Tensor, largest_norm: float) -> Tensor:
        """Smallest trusted ratio ``d² / (|x|² + |y|²)`` in a block whose smaller group has so many cells.

        ``|x|² + |y|² − 2 x·y`` in single precision errs by about 1e-7 of the norms, whatever the distance, so the
        relative error of ``d`` grows as ``5e-8 / ratio``. What rounding does to a cell and its norm is common to all
        pairs of that cell: if every pair of an n × m block had this ratio, the block's mean would err by
        ``5e-8 / (ratio √min(n, m))``, kept at 5e-7 or less.

        ``"rbf"`` errs by ``1e-7 γ (|x|² + |y|²)``. Where that could pass 1e-6, every pair near enough to count
        (``γ d² < 25``) is mistrusted.
        """
        if self.name == "rbf":
            exponent = 2 * self.gamma * largest_norm
            return torch.full_like(smaller, min(1.0, 25 / exponent) if exponent > 10 else 0.0, dtype=torch.float64)
        return 0.1 * smaller.double().rsqrt()
