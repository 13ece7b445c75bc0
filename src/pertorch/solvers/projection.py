"""Cells on the line from the controls to a target: ragged batches of targets, one set of controls that all share."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import map_threads

MARKERS_AT_ONCE = 64


@final
class Controls(NamedTuple):
    """The controls of a split at the markers of all targets, stored once.

    Attributes
    ----------
    values
        Shape ``(u, m)``, float64: markers × controls.
    mean, scatter
        Shape ``(u,)``: mean, and sum of squared deviations from it.
    """

    values: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Controls:
        """With their moments, each in one thread: several would add up a marker that is alone in another order."""
        found = zip(*map_threads(_moments, values.split(MARKERS_AT_ONCE), values.device), strict=True)
        return cls(values, *map(torch.cat, found))


@final
class Targets(NamedTuple):
    """The cells of B targets, each at its own markers, padded with zeros to a common shape.

    Attributes
    ----------
    values
        Shape ``(B, n, k)``, float64.
    inside
        Shape ``(B, n)``, bool: which rows are cells.
    markers
        Shape ``(B, k)``, int64: rows of ``Controls.values``.
    used
        Shape ``(B, k)``, bool: which of them are markers.
    """

    values: Tensor
    inside: Tensor
    markers: Tensor
    used: Tensor

    def only(self, keep: Tensor) -> Targets:
        """Some of them."""
        return Targets(*(part[keep] for part in self))


@final
class Projection(NamedTuple):
    """Positions on each target's line: ``of_targets`` ``(B, n)``, ``of_controls`` ``(B, m)``; ``exists`` ``(B,)``."""

    of_targets: Tensor
    of_controls: Tensor
    exists: Tensor


@final
class Frame(NamedTuple):
    """Where the markers of each target are centred and how they are scaled: each of shape ``(B, k)``."""

    centre: Tensor
    spread: Tensor

    @classmethod
    def over_all(cls, targets: Targets, controls: Controls, *, scale: bool) -> Frame:
        """Mean and standard deviation (ddof 1; 0 is taken as 1) over target and control cells together.

        From the moments of each side, so that the controls are never copied beside the target.
        """
        if not scale:
            return cls(torch.zeros_like(targets.values[:, 0]), torch.ones_like(targets.values[:, 0]))
        n = targets.inside.sum(1, dtype=torch.float64)[:, None]
        m = controls.values.shape[1]
        mean = targets.values.sum(1) / n
        scatter = ((targets.values - mean[:, None]).square_() * targets.inside[:, :, None]).sum(1)
        theirs = controls.mean[targets.markers]
        total = scatter + controls.scatter[targets.markers] + n * m / (n + m) * (mean - theirs).square()
        spread = (total / (n + m - 1)).sqrt()
        return cls((n * mean + m * theirs) / (n + m), torch.where((spread > 0) & targets.used, spread, 1.0))


def project(targets: Targets, controls: Controls, frame: Frame, chosen: Tensor) -> Projection:
    """Project every cell on ``v``, the mean of the chosen target cells less that of the controls.

    Parameters
    ----------
    targets, controls
        Where both are at the targets' markers.
    frame
        How markers are centred and scaled.
    chosen
        Shape ``(B, n)``, bool: the target cells that set the direction.

    Returns
    -------
    ``t = x·v / v·v`` of the scaled cells: about 0 for controls and 1 for the chosen, up to a common shift. A target
    whose cells do not differ at all has no direction: all its positions are 0.
    """
    n = chosen.sum(1, dtype=torch.float64).clamp(min=1)[:, None]
    mean = (chosen.double()[:, None] @ targets.values)[:, 0] / n
    v = torch.where(targets.used, (mean - controls.mean[targets.markers]) / frame.spread, 0.0)
    length = v.square().sum(1, keepdim=True)
    weights = torch.where(length > 0, v / frame.spread / length, 0.0)
    shift = (frame.centre * weights).sum(1, keepdim=True)
    of_targets = (targets.values @ weights[:, :, None])[:, :, 0] - shift
    of_controls = torch.nn.functional.embedding_bag(
        targets.markers, controls.values, per_sample_weights=weights, mode="sum"
    )
    return Projection(torch.where(targets.inside, of_targets, 0.0), of_controls - shift, length[:, 0] > 0)


def project_clipped(targets: Targets, controls: Controls, frame: Frame, clip: float) -> Projection:
    """As :func:`project` for all cells of each target, scaled values above `clip` taken as `clip`.

    Clipping is not linear, so here each target looks at its controls by itself.
    """
    of_targets, of_controls = torch.zeros_like(targets.values[:, :, 0]), []
    exists = torch.zeros_like(targets.inside[:, 0])
    for b in range(len(targets.values)):
        x, y = _scaled(targets, controls, frame, b, clip)
        v = x.mean(0) - y.mean(1)
        exists[b] = (v != 0).any()
        v = v / v.square().sum().clamp(min=torch.finfo(v.dtype).tiny)
        of_targets[b, : len(x)] = x @ v
        of_controls.append(v @ y)
    return Projection(of_targets, torch.stack(of_controls), exists)


@final
class LeftOut(NamedTuple):
    """Positions on a target's line without each marker: ``of_targets`` ``(n, k)``, ``of_controls`` ``(m, k)``."""

    of_targets: Tensor
    of_controls: Tensor


def project_without_each(targets: Targets, controls: Controls, frame: Frame, clip: float | None) -> list[LeftOut]:
    """Positions of the scaled cells of each target and of the controls on ``v``, each marker left out in turn.

    ``(x·v − x_j v_j) / (v·v − v_j²)``: what a marker's own expression can be compared with.
    """

    def without_each(x: Tensor, v: Tensor) -> Tensor:
        return ((x @ v)[:, None] - x * v) / (v @ v - v.square())

    out = []
    for b in range(len(targets.values)):
        x, y = _scaled(targets, controls, frame, b, clip)
        v = x.mean(0) - y.mean(1)
        out.append(LeftOut(without_each(x, v), without_each(y.T, v)))
    return out


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    mean = values.mean(1)
    return mean, (values - mean[:, None]).square_().sum(1)


def _scaled(targets: Targets, controls: Controls, frame: Frame, b: int, clip: float | None) -> tuple[Tensor, Tensor]:
    """The cells of one target, cells × markers, and the controls, markers × controls."""
    used = targets.used[b]
    centre, spread = frame.centre[b, used], frame.spread[b, used]
    x = (targets.values[b, targets.inside[b]][:, used] - centre) / spread
    y = (controls.values[targets.markers[b, used]] - centre[:, None]) / spread[:, None]
    return (x, y) if clip is None else (x.clamp_(max=clip), y.clamp_(max=clip))
