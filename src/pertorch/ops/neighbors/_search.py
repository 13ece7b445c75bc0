"""Exact search, and the door to the approximate ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pertorch.exec import track
from pertorch.ops.neighbors import _approximate

SLAB_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}
# Distances by ``|c|² − 2 x·c`` in float64 err by about this much of the norms: closer ones are settled exactly.
ROUNDING = 1e-13


def nearest_neighbors(
    queries: Tensor, references: Tensor, k: int, algorithm: str = "brute", options: Mapping[str, Any] | None = None
) -> Tensor:
    """Positions of the `k` nearest references of each query in Euclidean distance, in no particular order.

    Parameters
    ----------
    queries, references
        Shapes ``(n, d)`` and ``(m, d)``, floating, on one device.
    k
        How many, at most ``m``.
    algorithm
        ``"brute"`` is exact, in float64; of references equally far the first ones are taken. Else one of `ALGORITHMS`.
    options
        For an approximate algorithm: see :func:`pertorch.ops.neighbors._approximate.search`.

    Returns
    -------
    Shape ``(n, k)``, int64, on the device of `queries`.
    """
    if algorithm != "brute":
        return _approximate.search(queries, references, k, algorithm, options or {})
    centre = references.double().mean(0)
    x, c = queries.double() - centre, references.double() - centre
    if k >= len(c):
        return torch.arange(len(c), device=c.device).expand(len(x), -1)
    norms = c.square().sum(1)
    step = max(1, SLAB_BYTES[x.device.type] // (8 * len(c)))
    parts = track(x.split(step), len(x), "neighbours", unit="cells", size=len)
    return torch.cat([_slab(part, c, norms, k) for part in parts] or [x.new_empty(0, k, dtype=torch.int64)])


def _slab(x: Tensor, c: Tensor, norms: Tensor, k: int) -> Tensor:
    distance = torch.addmm(norms, x, c.T, alpha=-2)  # less |x|², which orders nothing
    best = torch.topk(distance, k + 1, largest=False)
    margin = best.values[:, -1] - best.values[:, -2]
    nearest = best.indices[:, :-1].clone()
    scale = norms.max() + x.square().sum(1)
    tied = torch.nonzero(margin <= ROUNDING * scale)[:, 0]
    if len(tied):
        # Rounding must not choose among equals: differences give duplicates of a cell the same distance to the bit.
        exact = torch.cdist(x[tied], c, compute_mode="donot_use_mm_for_euclid_dist")
        nearest[tied] = exact.sort(dim=1, stable=True).indices[:, :k]
    return nearest
