"""Soft minima in torch: the CPU path, the float64 path of every device, and the truth that the kernel is held to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from pertorch.ops.softmin._problems import NOTHING, Points

STORED_BYTES = {"cpu": 2**28, "cuda": 2**33}  # of exponentials kept for a batch
# Of the numbers in a batch of several problems. On a CPU 8 MiB, read from L3 at two thirds of L2's speed, hide what it
# costs to ask for an operation better than 2 MiB do.
BATCH = {"cpu": 2**21, "cuda": 2**28}
ALONE = 2**15  # numbers of a matrix whose product with a vector is worth a call of its own
TILE = {"cpu": 2**20, "cuda": 2**26}  # numbers made at once where none are kept
# Of a stored exponent: below, an entry counts as exp(LEAST), for float32 loses its speed near its smallest number.
LEAST = {torch.float32: -64.0, torch.float64: -600.0}
BELOW = {torch.float32: 20.0, torch.float64: 40.0}  # such an entry may come to exp(−BELOW) of a sum, no more


@final
class Side(NamedTuple):
    """One side of each problem of a batch, padded to the largest.

    Attributes
    ----------
    at
        Where the points are, shape ``(b, width)``; beyond a cloud its first point.
    log_weight
        Logarithm of the weights, shape ``(b, width)``, float64; `NOTHING` beyond a cloud.
    """

    at: Tensor
    log_weight: Tensor

    @classmethod
    def of(cls, points: Points, cloud: Tensor) -> Side:
        """One side, given the cloud of each problem."""
        start, size = (t[:, None] for t in points.places(cloud))
        position = torch.arange(int(size.max()), device=start.device)
        inside = position < size
        at = torch.where(inside, start + position, start)
        return cls(at, points.log_weight[at].masked_fill_(~inside, NOTHING))


class Softmin(Protocol):
    """Soft minima of a batch of problems, over each side. What is kept between calls is an implementation's own affair.

    Beyond a cloud, a potential that goes in is to be that of the cloud's first point; what comes out then is too.
    """

    def rows(self, beta: Tensor) -> Tensor:
        """``−log Σ_j b_j exp(β_j + s x_i·y_j)``: from shape ``(b, m)`` to ``(b, n)``, float64."""

    def columns(self, alpha: Tensor) -> Tensor:
        """``−log Σ_i a_i exp(α_i + s x_i·y_j)``: from shape ``(b, n)`` to ``(b, m)``, float64."""

    def take(self, kept: Tensor) -> Softmin:
        """Some of the problems."""


def soft_minima(points: Tensor, left: Side, right: Side, scale: Tensor) -> Softmin:
    """Soft minima of a batch, whose exponentials are stored where they fit in `STORED_BYTES`."""
    nbytes = left.at.numel() * right.at.shape[1] * points.element_size()
    return (Stored if nbytes <= STORED_BYTES[points.device.type] else Tiled)(points, left, right, scale)


class _Padded:
    """Points of a batch, the left ones times the scale."""

    def __init__(self, points: Tensor, left: Side, right: Side, scale: Tensor) -> None:
        self.x = (points[left.at] * scale[:, None, None]).to(points.dtype)
        self.y = points[right.at]
        self.log_a, self.log_b = left.log_weight, right.log_weight

    def scores(self, alpha: Tensor, beta: Tensor, out: Tensor | None = None) -> Tensor:
        """``α_i + β_j + s x_i·y_j`` in one product: shape ``(b, n, m)``."""
        one_left, one_right = self.x.new_ones(alpha.shape), self.y.new_ones(beta.shape)
        x = torch.cat([self.x, alpha.to(self.x)[..., None], one_left[..., None]], 2)
        y = torch.cat([self.y, one_right[..., None], beta.to(self.y)[..., None]], 2)
        return torch.bmm(x, y.mT) if out is None else torch.bmm(x, y.mT, out=out)


@final
class Stored(_Padded):
    """Keeps ``K = exp(α⁰ + β⁰ + s x·y)`` about an anchor (α⁰, β⁰), so that a soft minimum is a product with a vector.

    What comes in enters as its difference from the anchor. Where that has grown too large, the anchor moves to the last
    potentials of both sides (Schmitzer 2019: absorption).
    """

    def __init__(self, points: Tensor, left: Side, right: Side, scale: Tensor) -> None:
        super().__init__(points, left, right, scale)
        self.alpha, self.beta = torch.zeros_like(left.log_weight), torch.zeros_like(right.log_weight)
        self.anchor_alpha, self.anchor_beta = self.alpha, self.beta
        self.K: Tensor | None = None

    def columns(self, alpha: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        self.alpha = alpha
        return self._fold(self._over_rows, 1)

    def rows(self, beta: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        self.beta = beta
        return self._fold(self._over_columns, 2)

    def take(self, kept: Tensor) -> Softmin:
        """See :class:`Softmin`."""
        other = object.__new__(Stored)
        other.__dict__ = {k: v[kept] if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return other

    def _fold(self, product: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], dim: int) -> Tensor:
        """The anchor less the logarithm of a product, if the entries that were cut off cannot tell; else from anew."""
        if self.K is not None:
            anchor, gone, total = product(self.K)
            room = LEAST[self.K.dtype] + BELOW[self.K.dtype]
            if float(gone.amax() - total.amin()) < -room and float(total.amax()) < torch.inf:
                return anchor - total
        anchor, _, total = product(self._anchor(dim))
        return anchor - total

    def _over_rows(self, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gone = self.alpha - self.anchor_alpha
        u = (self.log_a + gone).exp_().to(K)
        return self.anchor_beta, gone, torch.bmm(u[:, None], K)[:, 0].double().log_()

    def _over_columns(self, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gone = self.beta - self.anchor_beta
        v = (self.log_b + gone).exp_().to(K)
        return self.anchor_alpha, gone, _times(K, v).double().log_()

    def _anchor(self, dim: int) -> Tensor:
        """Entries at the last potentials, the largest along `dim` 1: sums along it are right whatever they were."""
        scores = self.scores(self.alpha, self.beta, self.K)
        top = scores.amax(dim, keepdim=True)
        scores -= top
        self.anchor_alpha = self.alpha if dim == 1 else self.alpha - top[:, :, 0].double()
        self.anchor_beta = self.beta if dim == 2 else self.beta - top[:, 0].double()
        self.K = scores.clamp_(min=LEAST[scores.dtype]).exp_()
        return self.K


def _times(K: Tensor, v: Tensor) -> Tensor:
    """``K v`` of each problem: on a CPU, where the matrices are large, twice as fast one by one as all at once."""
    if K.is_cuda or len(K) == 1 or K[0].numel() < ALONE:
        return torch.bmm(K, v[:, :, None])[:, :, 0]
    out = v.new_empty(K.shape[:2])
    for matrix, vector, product in zip(K, v, out, strict=True):
        torch.mv(matrix, vector, out=product)
    return out


@final
class Tiled(_Padded):
    """Keeps nothing: tiles of the scores are made, folded and forgotten."""

    def columns(self, alpha: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        return self._fold(self.y, self.x, self.log_a + alpha)

    def rows(self, beta: Tensor) -> Tensor:
        """See :class:`Softmin`."""
        return self._fold(self.x, self.y, self.log_b + beta)

    def take(self, kept: Tensor) -> Softmin:
        """See :class:`Softmin`."""
        other = object.__new__(Tiled)
        other.__dict__ = {k: v[kept] for k, v in self.__dict__.items()}
        return other

    def _fold(self, x: Tensor, y: Tensor, potential: Tensor) -> Tensor:
        """Tile by tile of `x`, all of `y`."""
        added = potential.to(x)[:, None]
        step = max(1, TILE[x.device.type] // (len(x) * y.shape[1]))
        fold: Callable[[Tensor], Tensor] = lambda tile: torch.logsumexp(torch.baddbmm(added, tile, y.mT), 2)  # noqa: E731
        return -torch.cat([fold(tile) for tile in x.split(step, 1)], 1).double()
