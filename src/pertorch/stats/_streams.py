"""Random numbers as a function of (seed, key, replicate, draw): the same on every device, in every order."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.ops.shuffle import n_keys, permute

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
    """Where a random permutation of ``range(n)`` sends each position, one permutation per replicate, none stored.

    Parameters
    ----------
    seed, key
        Fix the permutations, together with the replicate.
    replicate
        Shape ``(r,)``, int64, on the device that computes.
    position
        Shape ``(k,)``, int64.
    n
        Size of the set that is permuted, at most 2³⁰.

    Returns
    -------
    Shape ``(r, k)``, int64. See :func:`pertorch.ops.shuffle.permute` for the method.
    """
    state = _mix(_stream(seed, key, replicate.device) + replicate[:, None] * _GOLDEN)
    keys = _mix(state + torch.arange(1, n_keys(n) + 1, device=replicate.device) * _GOLDEN)
    return permute(position.int(), (keys >> 32).int(), n).long()


def choice_keys(seed: int, key: int, replicate: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """What fixes subsets of ``range(n)``, see :func:`pertorch.ops.shuffle.choose`: the numbers of cells and replicates.

    Parameters
    ----------
    seed, key, replicate, n
        As for :func:`shuffled`.
    """
    state = _stream(seed, key, replicate.device)
    cells = _mix(_mix(state) + torch.arange(1, n + 1, device=replicate.device) * _GOLDEN)
    draws = _mix(state + replicate * _GOLDEN)
    return (cells >> 32).int(), torch.stack([draws >> 32, draws << 32 >> 32], 1).int()


def _stream(seed: int, key: int, device: torch.device) -> Tensor:
    return _mix(torch.tensor(key ^ (seed * 0x2545F4914F6CDD1D % 2**63), device=device))


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift: torch shifts int64 with its sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)
