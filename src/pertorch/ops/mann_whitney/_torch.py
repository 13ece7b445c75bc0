"""U in torch: the truth that the CPU path is held to, and the path of every GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def u_statistics(values: Tensor, cuts: Tensor, sizes: Tensor) -> Tensor:
    """See :func:`pertorch.ops.mann_whitney.u_statistics`: two searches among the sorted controls for each value."""
    cuts, sizes = cuts.to(values.device), sizes.to(values.device)
    controls = _padded(values, cuts[:, 0], cuts[:, 1], float("inf")).sort(1).values
    queries = _padded(values, cuts[:, 0], cuts[:, -1], float("inf"))
    control_zeros = (sizes[0] - (cuts[:, 1] - cuts[:, 0]))[:, None]
    twice = torch.searchsorted(controls, queries) + torch.searchsorted(controls, queries, right=True)
    twice += 2 * control_zeros * (queries > 0)
    zero = values.new_zeros(len(cuts), 1)
    twice_of_zero = 2 * torch.searchsorted(controls, zero) + control_zeros
    # Sums of integers: a difference of running sums is exact.
    running = torch.nn.functional.pad(twice.cumsum(1), (1, 0))
    sums = running.gather(1, cuts - cuts[:, :1]).diff()
    return (sums + (sizes - cuts.diff()) * twice_of_zero).double() / 2


def moments(values: Tensor, cuts: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`pertorch.ops.mann_whitney.moments`."""
    lengths = cuts.to(values.device).diff().flatten()
    x = values.double()
    sums, squares = (torch.segment_reduce(v, "sum", lengths=lengths) for v in (x, x * x))
    return sums.view(len(cuts), -1), squares.view(len(cuts), -1)


def _padded(values: Tensor, start: Tensor, stop: Tensor, fill: float) -> Tensor:
    """Ragged runs of `values` as the rows of a matrix."""
    lengths = stop - start
    column = torch.arange(int(lengths.max()) if len(lengths) else 0, device=values.device)
    inside = column < lengths[:, None]
    at = torch.where(inside, start[:, None] + column, 0)
    return torch.where(inside, values[at] if len(values) else values.new_zeros(()), fill)
