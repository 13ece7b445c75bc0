"""Weighted clouds of points, each about its own mean, and their moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import torch
from torch import Tensor

CHUNK = {"cpu": 2**17, "cuda": 2**24}  # coordinates held in float64 at once
MOST_FEATURES = 256  # up to here covariances are kept; beyond, what needs them goes over the points


@final
class Clouds(NamedTuple):
    """Clouds that lie end to end.

    Attributes
    ----------
    points
        Each cloud less its mean, shape ``(n, d)``, float32 or float64.
    weights
        Sum to 1 within a cloud, shape ``(n,)``, float64.
    norm
        ``|x'|²`` of the points as they are held, shape ``(n,)``, float64.
    offsets
        Shape ``(k + 1,)``, int64, on the device.
    mean
        Where the clouds lie, shape ``(k, d)``, float64.
    square, square_variance
        Mean and variance of ``|x'|²``, each of shape ``(k,)``, float64.
    cubic
        Mean of ``|x'|² x'``, shape ``(k, d)``, float64.
    covariance
        Mean of ``x' x'ᵀ``, shape ``(k, d, d)``, float64; ``None`` for more than `MOST_FEATURES` features.
    """

    points: Tensor
    weights: Tensor
    norm: Tensor
    offsets: Tensor
    mean: Tensor
    square: Tensor
    square_variance: Tensor
    cubic: Tensor
    covariance: Tensor | None

    @property
    def sizes(self) -> Tensor:
        """Points in each cloud, shape ``(k,)``."""
        return self.offsets.diff()

    @classmethod
    def of(cls, rows: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Clouds:
        """Clouds of some groups of rows, or of each of several replicates of them.

        Parameters
        ----------
        rows
            Shape ``(n, d)``, sorted by group, on the device that computes.
        offsets
            Shape ``(k + 1,)``, int64: group ``g`` is ``rows[offsets[g]:offsets[g + 1]]``.
        weights
            Shape ``(n, r)``, non-negative: a column per replicate. A row of weight 0 is not in that replicate's cloud.

        Returns
        -------
        Cloud ``r · k + g`` is group ``g`` in replicate ``r``.
        """
        offsets, counted = offsets.to(rows.device), torch.ones(len(rows), device=rows.device).double()
        if weights is not None:
            replicate, index = weights.T.nonzero(as_tuple=True)
            counted = weights[index, replicate].double()
            n_groups = len(offsets) - 1
            group = torch.bucketize(index, offsets[1:-1], right=True)
            sizes = torch.bincount(replicate * n_groups + group, minlength=n_groups * weights.shape[1])
            offsets, rows = torch.cat([offsets[:1], sizes.cumsum(0)]), rows[index]
        return _moments(rows, offsets, counted)


def _moments(rows: Tensor, offsets: Tensor, counted: Tensor) -> Clouds:
    """Centre each cloud and add up its moments: padded to the largest of a chunk of clouds of like size."""
    (n, d), k = rows.shape, len(offsets) - 1
    keep_covariance = d <= MOST_FEATURES
    new = counted.new_empty
    out = Clouds(
        torch.empty_like(rows), new(n), new(n), offsets, new(k, d), new(k), new(k), new(k, d),
        new(k, d, d) if keep_covariance else None,
    )  # fmt: skip
    for clouds in chunks(offsets.diff(), d, CHUNK[rows.device.type]):
        size = offsets.diff()[clouds]
        at = torch.arange(int(size.max()), device=rows.device)
        inside = at < size[:, None]
        index = torch.where(inside, offsets[clouds][:, None] + at, offsets[clouds][:, None])
        weight = counted[index] * inside
        weight /= weight.sum(1, keepdim=True)
        # about the first point of each cloud: a common offset costs no digits, and equal points differ by exactly 0
        first = rows[offsets[clouds]].double()[:, None]
        x = rows[index].double() - first
        mean = weight[:, None] @ x
        x -= mean
        held = x.to(rows.dtype)
        norm, square = held.double().square().sum(2), x.square().sum(2)
        for whole, part in ((out.points, held), (out.weights, weight), (out.norm, norm)):
            whole[index[inside]] = part[inside]
        weighted = weight[..., None] * x
        out.mean[clouds] = (first + mean)[:, 0]
        out.square[clouds] = (weight * norm).sum(1)
        average = (weight * square).sum(1, keepdim=True)
        out.square_variance[clouds] = (weight * (square - average).square_()).sum(1)
        out.cubic[clouds] = (weighted.mT @ square[..., None])[..., 0]
        if out.covariance is not None:
            out.covariance[clouds] = weighted.mT @ x
    return out


def chunks(sizes: Tensor, d: int, most: int) -> Iterator[Tensor]:
    """Clouds of like size, so many that they hold at most `most` coordinates padded to the largest."""
    order = torch.argsort(sizes, descending=True, stable=True)
    padded = sizes[order].tolist()
    start = 0
    while start < len(padded):
        stop = min(len(padded), start + max(1, most // (padded[start] * d)))
        yield order[start:stop]
        start = stop
