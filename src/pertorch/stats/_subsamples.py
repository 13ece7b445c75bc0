"""Small samples of a group of cells."""

from __future__ import annotations

import torch
from torch import Tensor

from pertorch.stats._streams import shuffled, uniform


def subsamples(seed: int, key: int, n_replicates: int, n: int, size: int, *, replace: bool = False) -> Tensor:
    """Cells of a group that each replicate draws, in random order.

    Replicate ``r`` of a small sample is the beginning of replicate ``r`` of a large one: what is computed for several
    sizes changes with the size, not with the draw.

    Parameters
    ----------
    seed, key
        Fix the draws, together with the replicate: see :func:`shuffled`.
    n_replicates, n
        Samples, and cells in each.
    size
        Cells of the group: at least `n` without replacement.
    replace
        Whether a cell may be drawn more than once.

    Returns
    -------
    Shape ``(n_replicates, n)``, int64, on the CPU: positions in the group.
    """
    replicate, position = torch.arange(n_replicates), torch.arange(n)
    if not replace:
        return shuffled(seed, key, replicate, position, size)
    return (uniform(seed, torch.tensor(key), replicate[:, None], position) * size).long()
