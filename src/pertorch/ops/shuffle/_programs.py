"""Feistel permutations and choosing cell after cell as Triton programs: one launch for what takes torch hundreds."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _shift_digit(digit, other, key, n):
    z = other * -1640531527 + key
    z = (z ^ ((z >> 15) & 0x1FFFF)) * 0x2C1B3C6D
    z = (z ^ ((z >> 12) & 0xFFFFF)) * 0x297A2D39
    digit += (((z >> 16) & 0xFFFF) * n) >> 16
    return tl.where(digit >= n, digit - n, digit)


@triton.jit
def _feistel(value, keys, a, b, N_KEYS: tl.constexpr):
    x, y = value // b, value % b
    for i in range(0, N_KEYS, 2):
        x = _shift_digit(x, y, tl.load(keys + i), a)
        y = _shift_digit(y, x, tl.load(keys + i + 1), b)
    return x * b + y


@triton.jit(do_not_specialize=["n", "a", "b", "n_positions"])
def permute_kernel(
    position,  # (k,) int32
    keys,  # (r, N_KEYS) int32
    out,  # (r, k) int32
    n,
    a,
    b,
    n_positions,
    N_KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Positions of one block, in one replicate."""
    replicate = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_positions
    keys += replicate * N_KEYS
    value = _feistel(tl.load(position + at, mask=inside, other=0), keys, a, b, N_KEYS)
    while tl.max(value, 0) >= n:
        value = tl.where(value >= n, _feistel(value, keys, a, b, N_KEYS), value)
    tl.store(out + replicate.to(tl.int64) * n_positions + at, value, mask=inside)


@triton.jit(do_not_specialize=["n", "size", "n_replicates"])
def chosen_kernel(
    cells,  # (n,) int32
    replicates,  # (r, 2) int32
    out,  # (r, size) int32
    n,
    size,
    n_replicates,
    BLOCK: tl.constexpr,
):
    """Subsets of one block of replicates."""
    replicate = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = replicate < n_replicates
    first = tl.load(replicates + 2 * replicate, mask=inside, other=0)
    second = tl.load(replicates + 2 * replicate + 1, mask=inside, other=0)
    place = out + replicate.to(tl.int64) * size
    left = tl.zeros((BLOCK,), tl.float32) + size
    taken = tl.zeros((BLOCK,), tl.int32)
    for i in range(n):
        z = tl.load(cells + i) ^ first
        z = (z ^ ((z >> 16) & 0xFFFF)) * 0x7FEB352D + second
        z = (z ^ ((z >> 15) & 0x1FFFF)) * -2073254261
        u = ((z >> 8) & 0xFFFFFF).to(tl.float32) * ((n - i).to(tl.float32) * 5.9604644775390625e-08)
        take = u < left
        tl.store(place + taken, tl.zeros((BLOCK,), tl.int32) + i, mask=take & inside)
        taken += take.to(tl.int32)
        left -= take.to(tl.float32)
