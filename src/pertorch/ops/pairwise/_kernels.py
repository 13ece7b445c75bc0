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

    def trust_below(self, n_pairs: Tensor, largest_norm: float) -> Tensor:
        """Smallest trusted ratio ``d² / (|x|² + |y|²)`` in a block of so many pairs of cells.

        ``|x|² + |y|² − 2 x·y`` in single precision errs by about 1e-7 of the norms, whatever the distance, so the
        relative error of ``d`` grows as ``5e-8 / ratio``. Errors of different cells are independent: if every pair of
        a block had this ratio, the block's mean would err by ``5e-8 / (ratio √pairs)``, kept at 5e-7 or less. Below
        the floor the error is no longer small beside ``d²`` itself.

        ``"rbf"`` errs by ``1e-7 γ (|x|² + |y|²)``. Where that could pass 1e-6, every pair near enough to count
        (``γ d² < 25``) is mistrusted.
        """
        if self.name == "rbf":
            exponent = 2 * self.gamma * largest_norm
            return torch.full_like(n_pairs, min(1.0, 25 / exponent) if exponent > 10 else 0.0, dtype=torch.float64)
        return (0.1 * n_pairs.double().rsqrt()).clamp(1e-6, 0.1)
