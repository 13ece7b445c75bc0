"""Group sums in torch."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def group_sums(rows: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum the rows of each group: ``S[g, r] = Σ_{i in g} w[i, r] x[i]``.

    Parameters
    ----------
    rows
        Shape ``(n, d)``, sorted by group, any floating dtype and device.
    offsets
        Shape ``(k + 1,)``, int64 on the CPU: group ``g`` is ``rows[offsets[g]:offsets[g + 1]]``.
    weights
        Shape ``(n, r)``, or ``None`` for one replicate in which each row counts once.

    Returns
    -------
    Shape ``(k, r, d)``, float64, on the device of `rows`. The order of addition depends on the group alone,
    so the bits do not depend on the other groups nor on the number of threads.
    """
    cuts = offsets.tolist()
    n_replicates = 1 if weights is None else weights.shape[1]
    out = torch.zeros(len(cuts) - 1, n_replicates, rows.shape[1], dtype=torch.float64, device=rows.device)
    for g, (start, stop) in enumerate(itertools.pairwise(cuts)):
        block = rows[start:stop].double()
        out[g] = block.sum(0) if weights is None else weights[start:stop].double().T @ block
    return out
