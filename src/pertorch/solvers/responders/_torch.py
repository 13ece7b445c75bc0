"""Responding cells in torch: all targets of a batch in each operation; those whose calls have settled leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pertorch.solvers.gauss_mixture import fit_mixtures
from pertorch.solvers.projection import Controls, Frame, Projection, Targets, project
from pertorch.solvers.responders._found import Responders


def find_responders(
    targets: Targets,
    controls: Controls,
    *,
    n_refinements: int,
    min_cells: int,
    scale: bool,
    with_controls: bool,
    options: Mapping[str, Any],
) -> Responders:
    """See :func:`pertorch.solvers.responders.find_responders`."""
    frame = Frame.over_all(targets, controls, scale=scale)
    first = project(targets, controls, frame, targets.inside)
    responds, posterior = targets.inside.clone(), torch.zeros_like(first.of_targets)
    n_iter = torch.zeros(len(responds), dtype=torch.int64, device=responds.device)
    converged, collapsed = torch.zeros_like(n_iter, dtype=torch.bool), torch.zeros_like(n_iter, dtype=torch.bool)
    alive = torch.arange(len(responds), device=responds.device)
    projection, chosen = first, responds
    for i in range(1, n_refinements + 1):
        if i > 1:
            projection = project(targets, controls, frame, chosen)
        p, at_rest = _posterior(projection, chosen, targets.inside, options, with_controls=with_controls)
        called = (p > 0.5) & targets.inside
        few = called.sum(1) < min_cells
        same = (called == chosen).all(1)
        responds[alive], posterior[alive], n_iter[alive] = called & ~few[:, None], p, i
        converged[alive], collapsed[alive] = at_rest & (few | same), few
        keep = ~(few | same)
        if not bool(keep.any()):
            break
        alive, chosen = alive[keep], called[keep]
        if not bool(keep.all()):
            targets, frame = targets.only(keep), Frame(*(part[keep] for part in frame))
    return Responders(responds, posterior, first, n_iter, converged, collapsed)


def _posterior(
    projection: Projection, chosen: Tensor, inside: Tensor, options: Mapping[str, Any], *, with_controls: bool
) -> tuple[Tensor, Tensor]:
    """Probability of each target cell to respond, and whether the mixture converged. No direction: nobody responds."""
    floor = options.get("floor", 1e-6)
    t, c = projection.of_targets, projection.of_controls
    known_mean, known_variance = (
        c.mean(1),
        c.var(1).clamp(min=floor) if c.shape[1] > 1 else torch.full_like(c[:, 0], floor),
    )
    n = chosen.sum(1, dtype=torch.float64)
    mean = (t * chosen).sum(1) / n.clamp(min=1)
    scatter = ((t - mean[:, None]).square() * chosen).sum(1)
    variance = torch.where(n > 1, scatter / (n - 1).clamp(min=1), known_variance).clamp(min=floor)
    points, there = t, inside & projection.exists[:, None]
    if with_controls:
        points = torch.cat([c, t], 1)
        there = torch.cat([torch.ones_like(c, dtype=torch.bool), there], 1)
    fit = fit_mixtures(points, there, known_mean, known_variance, mean, variance, **options)
    return torch.where(inside & projection.exists[:, None], fit.posterior(t), 0.0), fit.converged | ~projection.exists
