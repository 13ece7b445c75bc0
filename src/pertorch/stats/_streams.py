"""Random numbers as a function of (seed, key, replicate, draw): the same on every device, in every order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: 2⁶⁴ divided by the golden ratio


def uniform(seed: int, key: Tensor, replicate: Tensor, draw: Tensor) -> Tensor:
    """Uniform float64 in [0, 1) for each broadcast element of the three int64 tensors.

    Steele, Lea and Flood's SplitMix64 (OOPSLA 2014), seeded by mixing `seed`, `key` and `replicate`. Integer
    arithmetic wraps alike on CPU and GPU, so the numbers are the same to the bit.
    """
    state = _mix(key ^ (seed * 0x2545F4914F6CDD1D % 2**63))
    state = _mix(state + replicate * _GOLDEN)
    bits = _mix(state + (draw + 1) * _GOLDEN)
    return _shift(bits, 11).double() * 2.0**-53


def shuffled(seed: int, key: int, replicate: Tensor, position: Tensor, n: int) -> Tensor:
    """Where a random permutation of ``range(n)`` sends `position`, one permutation per replicate, none of them stored.

    A Feistel network over pairs of digits ``(x, y)``, ``x < a``, ``y < b``, ``a b ≥ n``, with addition in place of
    exclusive or (Black and Rogaway 2002): each round shifts one digit by a random function of the other, which is a
    bijection whatever the function. The few values past ``n`` are sent round again.

    Parameters
    ----------
    seed, key
        Fix the permutations, together with the replicate.
    replicate, position
        Broadcast against each other, int64, on the device that computes.
    n
        Size of the set that is permuted.
    """
    if n >= 2**30:
        raise ValueError(f"permutations of {n} cells: at most 2**30 are supported.")
    a = math.isqrt(n - 1) + 1 if n > 1 else 1
    b = max(1, -(-n // a))
    rounds = 4 if n > 256 else 16  # of both digits; few values mix slowly
    state = _mix(torch.tensor(key ^ (seed * 0x2545F4914F6CDD1D % 2**63), device=replicate.device))
    state = _mix(state + replicate[..., None] * _GOLDEN)
    rounds_of = torch.arange(1, 2 * rounds + 1, device=replicate.device)
    keys = (_mix(state + rounds_of * _GOLDEN) >> 32).int()
    value = position.int().expand(torch.broadcast_shapes(replicate.shape, position.shape))
    value = _feistel(value, keys, a, b)
    outside = torch.nonzero(value.flatten() >= n)[:, 0]
    every_key = keys.expand(*value.shape, -1).reshape(-1, 2 * rounds) if len(outside) else keys
    while len(outside):
        again = _feistel(value.flatten()[outside], every_key[outside], a, b)
        value.view(-1)[outside] = again
        outside = outside[again >= n]
    return value.long()


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


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift: torch shifts int64 with its sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)
