"""A whole signature in host memory."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from pertorch.exec import download, map_threads, track
from pertorch.tl._operator import Signature

Output = Literal["auto", "dense", "sparse"]
PROBED = 128  # cells
SLAB_BYTES = {"cpu": 2**23, "cuda": 2**28}


def materialize(signature: Signature, device: torch.device, output: Output, batch_size: int | None) -> Any:
    """Slab of cells by slab of cells: dense, or CSR where that is the smaller."""
    n, n_genes = signature.shape
    read = signature.reader(device)
    probe = read(torch.linspace(0, n - 1, min(n, PROBED), dtype=torch.float64, device=device).long())
    item = probe.element_size()
    step = batch_size or max(1, SLAB_BYTES[device.type] // max(1, n_genes * item))
    cells = torch.arange(n, device=device).split(step)
    bar = partial(track, total=n, what="signature", unit="cells", size=lambda block: block.shape[0])
    if output == "sparse" or (output == "auto" and is_smaller(probe)):
        return sp.vstack(list(bar(map_threads(lambda rows: compressed(read(rows)), cells, device))), format="csr")
    out = np.empty((n, n_genes), dtype=probe.numpy(force=True).dtype)
    target = torch.from_numpy(out)
    if device.type == "cpu":
        places = list(zip(cells, target.split(step), strict=True))
        deque(bar(map_threads(lambda both: both[1].copy_(read(both[0])), places, device)), maxlen=0)
    else:
        download(((i * step, read(rows)) for i, rows in enumerate(bar(cells))), target, device)
    return out


def is_smaller(probe: Tensor) -> bool:
    """Whether CSR is smaller than dense, by the look of these cells."""
    item = probe.element_size()
    return int(torch.count_nonzero(probe)) * (item + 4) < probe.numel() * item


def compressed(block: Tensor) -> sp.csr_array:
    """CSR on the host: from a GPU only what is not zero travels."""
    if block.device.type == "cpu":
        return sp.csr_array(block.numpy())
    filled = block != 0
    indptr = torch.nn.functional.pad(filled.sum(1).cumsum(0), (1, 0))
    columns = torch.nonzero(filled)[:, 1].int()
    parts = (part.cpu().numpy() for part in (block[filled], columns, indptr))
    return sp.csr_array(tuple(parts), shape=tuple(block.shape))
