"""Potentials in torch, padded to the largest problem of a batch."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from pertorch.ops.softmin import _torch
from pertorch.ops.softmin._problems import Errors, Points
from pertorch.ops.softmin._torch import Side, Softmin

POTENTIALS = 2**24  # of both sides that a batch holds at most, padded
FEW = 2**20  # of which half or more may be padding
SHARES, WORTH_SHARING = 4, 2**18  # batches come in multiples of this number, where there is more than this to do


@final
class Padded:
    """See :func:`pertorch.ops.softmin.engine`."""

    def __init__(self, points: Points) -> None:
        self.points = points

    def __call__(self, left: Tensor, right: Tensor, scale: Tensor, *, twins: bool) -> Alternating:
        """See :class:`Engine`."""
        rows, columns = Side.of(self.points, left), Side.of(self.points, right)
        alpha = self.points.norm[rows.at] * (scale / -2)[:, None]
        soft = _torch.soft_minima(self.points.coordinates, rows, columns, scale)
        return Alternating(soft, rows, columns, alpha, twins)

    def batches(self, rows: Tensor, columns: Tensor, shares: int) -> list[Tensor]:
        """See :class:`Engine`: problems of like shape together, largest first."""
        del shares
        like = (4 * columns.double().log2()).round() * (1 + 2.0**32) + rows  # columns alike, then rows
        order = torch.argsort(like, descending=True, stable=True)
        shapes = list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))
        most = self._largest_batch(int((rows * columns).sum()))
        cuts, start, height, width, used = [0], 0, 0, 0, 0
        for stop, (n, m) in enumerate(shapes):
            height, width, used, count = max(height, n), max(width, m), used + n + m, stop + 1 - start
            potentials = count * (height + width)
            wasteful = potentials > POTENTIALS or (potentials > FEW and potentials > 2 * used)
            if stop > start and (wasteful or count * height * width > most):
                cuts.append(stop)
                start, height, width, used = stop, n, m, n + m
        return [order[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(shapes)], strict=True) if stop > start]

    def _largest_batch(self, total: int) -> int:
        """Numbers, of so many in total, that a batch of several problems has at most, for threads to share."""
        coordinates = self.points.coordinates
        most = _torch.BATCH[coordinates.device.type] * 64 // max(64, coordinates.shape[1])
        return total // (SHARES * -(-total // (SHARES * most))) if total > WORTH_SHARING else most


@final
class Alternating:
    """Steps from one side's potentials to the other's, with what makes the soft minima."""

    shrink: ClassVar[float] = 0.5  # the stored numbers of those that go on are copied

    def __init__(self, soft: Softmin, left: Side, right: Side, alpha: Tensor, twins: bool) -> None:
        self.soft, self.twins = soft, twins
        self.a, self.b = left.log_weight.exp(), right.log_weight.exp()
        self.alpha, self.beta = alpha, alpha if twins else torch.zeros_like(right.log_weight)
        self.target = alpha  # soft minima that α was last moved towards
        self.found: Tensor | None = None  # those that β is to be moved towards, where they are known

    def look(self) -> Errors:
        """See :class:`Potentials`."""
        self.found = self.soft.columns(self.alpha)
        gap = self.beta - self.found
        error = (self.b * torch.expm1(gap).abs_()).sum(1)
        if not self.twins:
            error += (self.a * torch.expm1(self.alpha - self.target).abs_()).sum(1)
        return Errors(error.cpu(), (self.b * gap.square()).sum(1).cpu() / 2, self.value())

    def step(self, omega: Tensor, times: int = 1) -> None:
        """See :class:`Potentials`."""
        omega = omega.to(self.alpha.device)[:, None]
        for _ in range(times):
            found = self.soft.columns(self.alpha) if self.found is None else self.found
            self.found = None
            if self.twins:
                self.alpha = self.beta = (self.alpha + found) / 2
            else:
                self.beta = torch.lerp(self.beta, found, omega)
                self.target = self.soft.rows(self.beta)
                self.alpha = torch.lerp(self.alpha, self.target, omega)

    def value(self) -> Tensor:
        """See :class:`Potentials`."""
        return ((self.a * self.alpha).sum(1) + (self.b * self.beta).sum(1)).cpu()

    def take(self, kept: Tensor) -> None:
        """See :class:`Potentials`."""
        kept = kept.to(self.alpha.device)
        self.soft = self.soft.take(kept)
        self.__dict__ |= {k: v[kept] for k, v in self.__dict__.items() if isinstance(v, Tensor)}
