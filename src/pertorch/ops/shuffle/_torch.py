"""Feistel permutations in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def permute(position: Tensor, keys: Tensor, n: int, a: int, b: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.permute`; ``(a, b)`` are the sizes of the two digits."""
    value = _feistel(position.expand(len(keys), -1), keys[:, None], a, b)
    row, column = torch.nonzero(value >= n, as_tuple=True)
    while len(row):
        again = _feistel(value[row, column], keys[row], a, b)
        value[row, column] = again
        still = again >= n
        row, column = row[still], column[still]
    return value


def _feistel(value: Tensor, keys: Tensor, a: int, b: int) -> Tensor:
    x, y = torch.div(value, b, rounding_mode="floor"), value % b
    for i in range(0, keys.shape[-1], 2):
        _shift_digit(x, y, keys[..., i], a)
        _shift_digit(y, x, keys[..., i + 1], b)
    return x.mul_(b).add_(y)


def _shift_digit(digit: Tensor, other: Tensor, key: Tensor, n: int) -> None:
    """Add a random function of the other digit to a digit below `n`, modulo `n`, in place.

    A multiply-and-shift hash in 32 bits; its upper 16 choose the function's value. Integer division would take ten
    times as long.
    """
    z = (other * -1640531527).add_(key)  # 2³² divided by the golden ratio
    z.bitwise_xor_((z >> 15).bitwise_and_(0x1FFFF)).mul_(0x2C1B3C6D)
    z.bitwise_xor_((z >> 12).bitwise_and_(0xFFFFF)).mul_(0x297A2D39)
    digit.add_((z >> 16).bitwise_and_(0xFFFF).mul_(n).bitwise_right_shift_(16))
    digit.sub_((digit >= n).int().mul_(n))
