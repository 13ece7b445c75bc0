"""U by rows in Triton. Twin of ``_torch.add_excess``, to the bit."""

from __future__ import annotations

from torch import Tensor

from pertorch.exec import current_device
from pertorch.ops.mann_whitney import _programs
from pertorch.ops.mann_whitney._controls import SortedControls

BLOCK = 256


def add_excess(
    out: Tensor,
    values: Tensor,
    columns: Tensor,
    indptr: Tensor,
    rows: Tensor,
    groups: Tensor,
    controls: SortedControls,
) -> None:
    """See :func:`pertorch.ops.mann_whitney.add_excess`."""
    if not len(rows):
        return
    with current_device(out.device):
        _programs.excess_kernel[(len(rows),)](
            out,
            values,
            columns,
            indptr,
            rows,
            groups,
            controls.values,
            controls.starts,
            controls.zeros,
            controls.of_zero,
            out.shape[1],
            controls.longest.bit_length(),
            BLOCK=BLOCK,
            num_warps=4,
        )
