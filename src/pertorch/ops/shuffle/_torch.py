"""Feistel permutations in torch."""

from __future__ import annotations

import torch
from torch import Tensor

# As 0-dimensional tensors: torch turns each number in Python into one of int64, then of int32, at every use.
_GOLDEN, _FIRST, _SECOND, _POSITIVE, _LOWER_17, _LOWER_20, _LOWER_16 = (
    torch.tensor(c, dtype=torch.int32)
    for c in (-1640531527, 0x2C1B3C6D, 0x297A2D39, 0x7FFFFFFF, 0x1FFFF, 0xFFFFF, 0xFFFF)
)
_SHIFTS = {by: torch.tensor(by, dtype=torch.int32) for by in (12, 15, 16)}


def permute(position: Tensor, keys: Tensor, n: int, a: int, b: int) -> Tensor:
    """See :func:`pertorch.ops.shuffle.permute`; ``(a, b)`` are the sizes of the two digits."""
    x, y = torch.div(position, b, rounding_mode="floor"), position % b
    value = _feistel(x.expand(len(keys), -1).clone(), y.expand(len(keys), -1).clone(), keys[:, None], a, b)
    row, column = torch.nonzero(value >= n, as_tuple=True)
    while len(row):
        past = value[row, column]
        again = _feistel(torch.div(past, b, rounding_mode="floor"), past % b, keys[row], a, b)
        value[row, column] = again
        still = again >= n
        row, column = row[still], column[still]
    return value


def _feistel(x: Tensor, y: Tensor, keys: Tensor, a: int, b: int) -> Tensor:
    """Where the number of two digits goes; `x` and `y` are overwritten."""
    # Fresh memory for each intermediate would take longer than the arithmetic.
    room = torch.empty_like(x), torch.empty_like(x)
    size_x, size_y = (torch.tensor(n, dtype=torch.int32) for n in (a, b))
    for i in range(0, keys.shape[-1], 2):
        _shift_digit(x, y, keys[..., i], size_x, *room)
        _shift_digit(y, x, keys[..., i + 1], size_y, *room)
    return x.mul_(b).add_(y)


def _shift_digit(digit: Tensor, other: Tensor, key: Tensor, n: Tensor, z: Tensor, shifted: Tensor) -> None:
    """Add a random function of the other digit to a digit below `n`, modulo `n`, in place.

    A multiply-and-shift hash in 32 bits; its upper 16 choose the function's value. Integer division would take ten
    times as long. `z` and `shifted` are overwritten.
    """
    torch.mul(other, _GOLDEN, out=z).add_(key)  # 2³² divided by the golden ratio
    z.bitwise_xor_(torch.bitwise_right_shift(z, _SHIFTS[15], out=shifted).bitwise_and_(_LOWER_17)).mul_(_FIRST)
    z.bitwise_xor_(torch.bitwise_right_shift(z, _SHIFTS[12], out=shifted).bitwise_and_(_LOWER_20)).mul_(_SECOND)
    z.bitwise_right_shift_(_SHIFTS[16]).bitwise_and_(_LOWER_16)
    digit.add_(z.mul_(n).bitwise_right_shift_(_SHIFTS[16]))
    # the smaller of digit and digit − n, if a negative number is made a large one
    torch.minimum(digit, torch.sub(digit, n, out=shifted).bitwise_and_(_POSITIVE), out=digit)
