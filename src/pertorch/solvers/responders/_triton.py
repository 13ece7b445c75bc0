"""Responding cells in Triton: one launch for a batch. Twin of ``_torch.find_responders``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pertorch.exec import current_device
from pertorch.ops.two_normals._triton import limits
from pertorch.solvers.projection import Controls, Projection, Targets
from pertorch.solvers.responders import _programs
from pertorch.solvers.responders._found import Responders

BLOCK, WARPS = 1024, 16


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
    n_targets, n, k = targets.values.shape
    m, device = controls.values.shape[1], targets.values.device

    def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.zeros(n_targets, *shape, dtype=dtype, device=device)

    chosen, posterior, told = targets.inside.to(torch.int8), zeros(n), zeros(4, dtype=torch.int64)
    of_cells, of_controls = zeros(n), torch.empty(n_targets, m, dtype=torch.float64, device=device)
    if n_targets:
        with current_device(device):
            _programs.refine_kernel[(n_targets,)](
                targets.values.mT.contiguous(),
                targets.inside.sum(1),
                targets.markers.contiguous(),
                targets.used.sum(1),
                controls.values,
                controls.mean,
                controls.scatter,
                chosen,
                posterior,
                of_cells,
                of_controls,
                of_controls.new_empty(n_targets, m + n),
                of_controls.new_empty(n_targets, 3, k),
                told,
                limits(options.get("tol", 1e-8), options.get("floor", 1e-6), device),
                n,
                k,
                m,
                n_refinements,
                min_cells,
                options.get("max_iter", 300),
                SCALE=scale,
                WITH_CONTROLS=with_controls,
                BLOCK=BLOCK,
                num_warps=WARPS,
            )
    n_iter, converged, collapsed, exists = told.unbind(1)
    first = Projection(of_cells, of_controls, exists == 1)
    return Responders(chosen == 1, posterior, first, n_iter, converged == 1, collapsed == 1)
