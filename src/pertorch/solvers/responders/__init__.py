"""Which cells of a target respond: direction and mixture, each refined by the other (Papalexi et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertorch.exec import runs_triton
from pertorch.solvers.projection import Controls, Projection, Targets
from pertorch.solvers.responders import _torch
from pertorch.solvers.responders._found import Responders

__all__ = ["Responders", "find_responders", "project_targets"]


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
    find = _torch.find_responders
    if runs_triton(targets.values):
        from pertorch.solvers.responders import _triton

        find = _triton.find_responders
    return find(
        targets,
        controls,
        n_refinements=n_refinements,
        min_cells=min_cells,
        scale=scale,
        with_controls=with_controls,
        options=options or {},
    )


def project_targets(targets: Targets, controls: Controls, *, scale: bool) -> Projection:
    """The cells and the controls on the line to all cells of each target."""
    return find_responders(targets, controls, n_refinements=0, min_cells=1, scale=scale).first
