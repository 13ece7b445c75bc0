"""Random subsets: few cells of many by permutations as functions, none of them stored; others cell after cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pertorch.exec import runs_triton
from pertorch.ops.shuffle import _choose, _torch

__all__ = ["MOST_CHOSEN_FROM", "choose", "chosen", "digits", "n_keys", "permute"]

MOST_CHOSEN_FROM = 2**24  # cells that `choose` counts in float32


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
    if (twin := _triton_for(position)) is not None:
        return twin.permute(position, keys, n, a, b)
    return _torch.permute(position, keys, n, a, b)


def choose(cells: Sequence[Tensor], replicates: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Draw subsets of given sizes, each as likely as another, from several sets of cells.

    Cells are gone through in order, and each is taken with probability *still wanted / still to come* (algorithm S of
    Knuth's volume 2; Fan, Muller and Rezucha 1962). All cells are gone through, so :func:`permute` is sooner where few
    are wanted.

    Parameters
    ----------
    cells
        Shape ``(n,)``, int32, for each set: random numbers of its cells, at most `MOST_CHOSEN_FROM`.
    replicates
        Shape ``(r, 2)``, int32, for each set: random numbers of its replicates.
    sizes
        Cells wanted from each set.

    Returns
    -------
    For each set 0 and 1, shape ``(n, r)``, float32, of which each column sums to the size. The same on every device,
    and for a set whatever the other sets are.
    """
    if _triton_for(cells[0]) is None:
        return _choose.choose(cells, replicates, sizes)
    out = []
    for own, draws, size in zip(cells, replicates, sizes, strict=True):
        weights = torch.zeros(len(draws), len(own), device=own.device)
        out.append(weights.scatter_(1, chosen(own, draws, size).long(), 1.0).T)
    return out


def chosen(cells: Tensor, replicates: Tensor, size: int) -> Tensor:
    """The subsets of :func:`choose` from one set as positions, in order: shape ``(r, size)``, int32."""
    if (twin := _triton_for(cells)) is not None:
        return twin.chosen(cells, replicates, size)
    return _choose.chosen(cells, replicates, size)


def _triton_for(values: Tensor) -> Any:
    """The module of the Triton programs, where they compute this."""
    if not runs_triton(values):
        return None
    from pertorch.ops.shuffle import _triton

    return _triton
