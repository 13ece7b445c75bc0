"""Which cells of a target respond: direction and mixture, each refined by the other (Papalexi et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from pertorch.solvers.gauss_mixture import fit_mixtures
from pertorch.solvers.projection import Controls, Frame, Projection, Targets, project


@final
class Responders(NamedTuple):
    """What was found about B targets.

    Attributes
    ----------
    responds
        Shape ``(B, n)``, bool.
    posterior
        Shape ``(B, n)``: probability of responding, from the last mixture.
    first
        Projection on the first direction, that of all cells of the target.
    n_iter
        Shape ``(B,)``, int64: refinements made.
    converged
        Shape ``(B,)``, bool: whether the last mixture, and the refinement, came to rest.
    collapsed
        Shape ``(B,)``, bool: whether too few responding cells were left.
    """

    responds: Tensor
    posterior: Tensor
    first: Projection
    n_iter: Tensor
    converged: Tensor
    collapsed: Tensor

    def host(self, *, controls: bool) -> Responders:
        """In host memory, in a few copies; the projections of controls only where they are wanted."""
        first = self.first if controls else self.first._replace(of_controls=self.first.of_controls[:, :0])
        others = {name: part.cpu() for name, part in self._asdict().items() if name != "first"}
        return Responders(first=Projection(*(part.cpu() for part in first)), **others)


def find_responders(
    targets: Targets,
    controls: Controls,
    *,
    n_refinements: int,
    min_cells: int,
    scale: bool,
    with_controls: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Responders:
    """Call responding cells, all targets of the batch at once.

    All cells of a target set the first direction. Projected on it, they and the controls are a mixture of two normals,
    of which the controls fix one; cells more likely of the other set the next direction, until they stay the same.

    Parameters
    ----------
    n_refinements
        Most rounds; with none every cell responds.
    min_cells
        With fewer responding cells than this, none responds.
    scale
        Whether to divide markers by their standard deviation over target and control cells.
    with_controls
        Whether the controls count among the points of the mixture, besides fixing one of its components. Without them
        its weight is the share of the target's cells that respond.
    options
        ``tol``, ``max_iter``, ``floor`` of :func:`pertorch.solvers.gauss_mixture.fit_mixtures`.
    """
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
        p, at_rest = _posterior(projection, chosen, targets.inside, options or {}, with_controls=with_controls)
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
