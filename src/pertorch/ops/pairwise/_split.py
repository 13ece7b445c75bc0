"""Points as two fp16 halves: what the matrix units multiply."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor

SLAB = 2**24  # values converted at once: bounds the float64 copies


@final
class Halves(NamedTuple):
    """Centred, scaled points ``x ≈ hi + lo``, to 22 bits.

    Attributes
    ----------
    hi, lo
        Shape ``(n, width)``, float16, zeros beyond the features.
    norm
        ``|x|²``, shape ``(n,)``, float32.
    raw
        The points as given, shape ``(n, d)``, float32, contiguous.
    scale
        The power of two that scaled the centred points.
    """

    hi: Tensor
    lo: Tensor
    norm: Tensor
    raw: Tensor
    scale: float


def split(points: Tensor) -> Halves:
    """Centre and scale in float64, then round once to hi and once to what hi left over.

    Translation changes no distance, and a power of two scales without rounding. Norms up to 2²⁶ leave coordinates
    within 2¹³, whose square is far from float32's limit and whose lower half is far from fp16's smallest number.
    """
    n, d = points.shape
    width = max(16, 1 << (d - 1).bit_length()) if d <= 64 else -(-d // 64) * 64
    hi = torch.zeros(n, width, dtype=torch.float16, device=points.device)
    lo, norm = torch.zeros_like(hi), torch.empty(n, dtype=torch.float64, device=points.device)
    centre = points.mean(0, dtype=torch.float64)
    step = max(1, SLAB // d)
    slabs = [slice(start, start + step) for start in range(0, n, step)]
    for rows in slabs:
        norm[rows] = (points[rows].double() - centre).square_().sum(1)
    largest = float(norm.max())
    scale = 2.0 ** (13 - math.frexp(math.sqrt(largest))[1]) if largest > 0 else 1.0
    for rows in slabs:
        centred = (points[rows].double() - centre).mul_(scale)
        hi[rows, :d] = centred.half()
        lo[rows, :d] = (centred - hi[rows, :d]).half()
        # of the points as they are multiplied: what rounding did to them then cancels in d²
        norm[rows] = (hi[rows].double() + lo[rows]).square_().sum(1)
    return Halves(hi, lo, norm.float(), points.contiguous(), scale)
