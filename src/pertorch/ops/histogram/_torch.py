"""Histograms in torch. All arithmetic is on integers, so neither order nor device can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

_SHIFT = 40  # a value and its column in one integer: column · 2⁴⁰ + value
_TABLE = {"cpu": 2**22, "cuda": 2**24}  # most entries of the table of small values
_WIDEST = {"cpu": 256, "cuda": 4096}  # values that are small
_STEP = {"cpu": 2**16, "cuda": 2**25}  # entries at once: their temporaries fit a core's cache, or a GPU
_PENDING = 2**22  # rare values held before they are pooled


@final
@dataclass(frozen=True)
class Histograms:
    """How often each value occurs in each column, ragged.

    Attributes
    ----------
    offsets
        Shape ``(k + 1,)``, int64, on the CPU: column ``c`` is entries ``offsets[c]:offsets[c + 1]``.
    values
        Shape ``(m,)``, int64: the distinct values of each column, ascending.
    times
        Shape ``(m,)``, int64: how often each occurs.
    """

    offsets: Tensor
    values: Tensor
    times: Tensor

    def to(self, device: torch.device) -> Histograms:
        """The same, with values on `device`."""
        return Histograms(self.offsets, self.values.to(device), self.times.to(device))

    def padded(self, columns: Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Values and how often they occur, shapes ``(len(columns), width)``; the rest of a row is value 1, 0 times.

        The width is that of the widest column, where none is given.
        """
        start, stop = self.offsets[columns], self.offsets[columns + 1]
        width = width or (int((stop - start).max()) if len(columns) else 0)
        within = torch.arange(width)
        there = (within < (stop - start)[:, None]).to(self.values.device)
        entry = (start[:, None] + within).to(self.values.device).clamp(max=max(len(self.values) - 1, 0))
        one, none = self.values.new_ones(()), self.values.new_zeros(())
        return torch.where(there, self.values[entry], one), torch.where(there, self.times[entry], none)

    def total(self) -> Tensor:
        """Entries of each column, shape ``(k,)``, int64, on the CPU."""
        running = torch.cat([self.times.new_zeros(1), self.times.cumsum(0)]).cpu()
        return running[self.offsets].diff()

    def largest(self) -> Tensor:
        """Largest value of each column, 0 where it has none, shape ``(k,)``, int64, on the CPU."""
        last = torch.cat([self.values, self.values.new_zeros(1)]).cpu()[self.offsets[1:] - 1]
        return torch.where(self.offsets.diff() > 0, last, 0)


@final
class Tally:
    """Histograms in the making: a monoid under :meth:`merge`, empty at first.

    Values below a width go to a table by ``bincount``, one pass; the rest, few in number, are sorted.

    Parameters
    ----------
    n_columns
        Number of columns, below 2²².
    device
        Where to count.
    """

    def __init__(self, n_columns: int, device: torch.device | str = "cpu") -> None:
        self.n_columns = n_columns
        self.device = torch.device(device)
        kind = self.device.type
        self._width = min(_WIDEST[kind], max(2, _TABLE[kind] // max(n_columns, 1)))
        self._table = torch.zeros(n_columns * self._width, dtype=torch.int64, device=self.device)
        self._rare: list[tuple[Tensor, Tensor]] = []

    def add(self, column: Tensor, value: Tensor) -> None:
        """Count entries.

        Parameters
        ----------
        column, value
            Shape ``(n,)`` each, on the tally's device: which column, and a whole number from 1 to 2⁴⁰ − 1.
        """
        step = _STEP[self.device.type]
        for part in zip(column.split(step), value.split(step), strict=True):
            self._add(*part)

    def _add(self, column: Tensor, value: Tensor) -> None:
        value = value.long()
        code = (column.long() * self._width).add_(value)
        if len(value) and int(value.max()) >= self._width:
            large = value >= self._width
            rare = torch.nonzero(large)[:, 0]
            codes = (column[rare].long() << _SHIFT) + value[rare]
            self._pool((codes, torch.ones_like(codes)))
            code.masked_fill_(large, 0)  # which stands for a value of 0: none is counted there
        if code.is_cuda:
            self._table += torch.bincount(code, minlength=len(self._table))
        else:  # without a table of its own for each step
            self._table.scatter_add_(0, code, torch.ones_like(code))
        self._table[0] = 0

    def merge(self, other: Tally) -> None:
        """Take in what another tally of as many columns has counted."""
        parts = other._rare
        if self._width == other._width:
            self._table += other._table.to(self.device)
        else:  # that of another kind of device
            parts = [*parts, other._small()]
        for codes, times in parts:
            self._pool((codes.to(self.device), times.to(self.device)))

    def histograms(self) -> Histograms:
        """What has been counted so far."""
        codes, times = _pooled([*self._rare, self._small()])
        sizes = torch.bincount(codes >> _SHIFT, minlength=self.n_columns)
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).cpu()
        return Histograms(offsets, codes & ((1 << _SHIFT) - 1), times)

    def _small(self) -> tuple[Tensor, Tensor]:
        """What the table holds, as codes and how often they occur."""
        small = torch.nonzero(self._table)[:, 0]
        column = torch.div(small, self._width, rounding_mode="floor")
        return (column << _SHIFT) + small % self._width, self._table[small]

    def _pool(self, part: tuple[Tensor, Tensor]) -> None:
        self._rare.append(part)
        if sum(len(codes) for codes, _ in self._rare) > _PENDING:
            self._rare = [_pooled(self._rare)]


def _pooled(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Each code once, ascending."""
    codes, place = torch.unique(torch.cat([codes for codes, _ in parts]), return_inverse=True)
    times = torch.cat([times for _, times in parts])
    return codes, torch.zeros_like(codes).scatter_add_(0, place, times)
