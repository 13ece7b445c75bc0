"""κ as a function of the squared distance."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Kernel = Literal["euclidean", "sqeuclidean"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)


def apply(kernel: Kernel, squared: Tensor) -> Tensor:
    """κ of a tile of squared distances, in place."""
    return squared.sqrt_() if kernel == "euclidean" else squared


def trust_below(n_left: int, n_right: int) -> float:
    """Smallest trusted ratio ``d² / (|x|² + |y|²)`` for a pair of groups of these sizes.

    ``|x|² + |y|² − 2 x·y`` in single precision errs by about 1e-7 of the norms, whatever the distance, so the relative
    error of ``d`` grows as ``5e-8 / ratio``. Errors of different cells are independent: their mean over a block errs
    by ``5e-8 / (ratio √(n m))``, kept at 5e-7 or less. The floor bounds the bias that the curvature of the root adds
    (``(1e-7 / ratio)² / 8``). Tiles with a smaller ratio are computed again from differences.
    """
    return float(min(0.1, max(1e-3, 0.1 / (n_left * n_right) ** 0.5)))
