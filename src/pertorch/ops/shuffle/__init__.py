"""Random permutations as functions: where does position i go, without storing the permutation."""

from __future__ import annotations

import math
from importlib.util import find_spec

from torch import Tensor

from pertorch.ops.shuffle import _torch

__all__ = ["digits", "n_keys", "permute"]


def n_keys(n: int) -> int:
    """Random numbers that fix a permutation of ``range(n)``: two a round; few values mix slowly."""
    return 8 if n > 256 else 32


def digits(n: int) -> tuple[int, int]:
    """Sizes of the two digits: their product is `n` or little more, since what lies past `n` takes another round."""
    root = math.isqrt(n - 1) + 1
    least = max(root - 64, -(-root // 2), -(-n // 2**15))  # neither of few values, nor too large for 32 bits
    a = min(range(root, least - 1, -1), key=lambda a: -n % a)
    return a, -(-n // a)


def permute(position: Tensor, keys: Tensor, n: int) -> Tensor:
    """Send positions through random permutations of ``range(n)``.

    A Feistel network over pairs of digits ``(x, y)``, ``x < a``, ``y < b``, ``a b ≥ n``, with addition in place of
    exclusive or (Black and Rogaway 2002): each step shifts one digit by a random function of the other, which is a
    bijection whatever the function. The few values past ``n`` are sent round again.

    Parameters
    ----------
    position
        Shape ``(k,)``, int32, below `n`.
    keys
        Shape ``(r, n_keys(n))``, int32, any values: one permutation a row.
    n
        Size of the set that is permuted, at most 2³⁰.

    Returns
    -------
    Shape ``(r, k)``, int32: in each row distinct values. The same on every device.

    Raises
    ------
    ValueError
        If `n` is too large.
    """
    if not 0 < n <= 2**30:
        raise ValueError(f"permutations of {n} cells: from 1 to 2**30 are supported.")
    a, b = digits(n)
    if position.is_cuda and find_spec("triton"):
        from pertorch.ops.shuffle import _triton

        return _triton.permute(position, keys, n, a, b)
    return _torch.permute(position, keys, n, a, b)
