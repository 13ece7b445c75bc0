"""Distinct values of each feature in each group, and how often each occurs."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

BITS = 32  # of a key that tell the value; the rest tell group and feature


@final
class Tallies(NamedTuple):
    """Runs of equal values, sorted by slot (group · n_features + feature) and then by value.

    Attributes
    ----------
    keys
        ``slot << BITS | code``, ascending, without repeats, where a larger code is a larger value: shape ``(t,)``.
    values
        Value of each run, float64.
    counts
        Cells with that value, int64; 0 is possible where the value is 0.
    below
        Cells of the slot with a smaller value, int64.
    lengths
        Runs of each slot, shape ``(k · n_features,)``, none of them 0.
    """

    keys: Tensor
    values: Tensor
    counts: Tensor
    below: Tensor
    lengths: Tensor


def value_table(values: Tensor) -> Tensor | None:
    """What :func:`tally` needs to make keys that are comparable between calls: the distinct values, and 0.

    Float32 needs none: its bits tell the order.
    """
    return None if values.dtype == torch.float32 else torch.unique(torch.cat([values.new_zeros(1), values]))


def tally(
    slots: Tensor, values: Tensor, span: range, zeros: Tensor | None = None, table: Tensor | None = None
) -> Tallies:
    """Count equal values: one sort of 64-bit integers that hold slot and value, and nothing else.

    Parameters
    ----------
    slots
        Slot of each entry, ``group · n_features + feature``, shape ``(e,)``, int64.
    values
        Its value, finite: float32, or float64 with a `table` of all values.
    span
        The slots, below 2³¹: tallies of successive spans, end to end, are those of all.
    zeros
        Cells of each slot that are 0 without an entry, shape ``(len(span),)``. ``None`` where every value is an entry.
    table
        From :func:`value_table`.
    """
    if zeros is not None:  # one entry stands for them all
        slots = torch.cat([torch.arange(span.start, span.stop, device=slots.device), slots])
        values = torch.cat([values.new_zeros(len(span)), values])
    keys = _sorted((slots << BITS).bitwise_or_(_encode(values, table)))
    keys, counts = torch.unique_consecutive(keys, return_counts=True)
    found = _decode(keys & (2**BITS - 1), table)
    if zeros is not None:
        counts[found == 0] += zeros - 1
    lengths = torch.bincount((keys >> BITS) - span.start, minlength=len(span))
    before = counts.cumsum(0) - counts
    below = before - torch.repeat_interleave(before[lengths.cumsum(0) - lengths], lengths)
    return Tallies(keys, found, counts, below, lengths)


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type == "cpu":
        keys.numpy().sort()  # in vector registers where the processor can: three times sooner than torch
        return keys
    return keys.sort().values


def _encode(values: Tensor, table: Tensor | None) -> Tensor:
    """Non-negative integers below 2³² in the order of the values."""
    if table is not None:
        return torch.searchsorted(table, values)
    bits = (values + 0.0).view(torch.int32)  # −0 becomes 0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() + 2**31


def _decode(codes: Tensor, table: Tensor | None) -> Tensor:
    if table is not None:
        return table[codes].double()
    bits = (codes - 2**31).int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32).double()
