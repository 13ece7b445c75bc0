"""κ as a function of the squared distance."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Kernel = Literal["euclidean", "sqeuclidean"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)


def apply(kernel: Kernel, squared: Tensor) -> Tensor:
    """κ of a tile of squared distances, in place."""
    return squared.sqrt_() if kernel == "euclidean" else squared


def trust_below(n_pairs: Tensor) -> Tensor:
    """Smallest trusted ratio ``d² / (|x|² + |y|²)`` in a block of so many pairs of cells.

    ``|x|² + |y|² − 2 x·y`` in single precision errs by about 1e-7 of the norms, whatever the distance, so the relative
    error of ``d`` grows as ``5e-8 / ratio``. Errors of different cells are independent: if every pair of a block had
    this ratio, the block's mean would err by ``5e-8 / (ratio √pairs)``, kept at 5e-7 or less. Below the floor the
    error is no longer small beside ``d²`` itself. Tiles with a smaller ratio are computed again from differences.
    """
    return (0.1 * n_pairs.double().rsqrt()).clamp(1e-6, 0.1)
