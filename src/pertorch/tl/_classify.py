"""Calls of perturbed cells, split by split, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.exec import resolve_devices
from pertorch.solvers.projection import Controls, Targets
from pertorch.solvers.responders import Responders, find_responders
from pertorch.tl._map_targets import map_targets
from pertorch.tl._operator import Signature
from pertorch.tl._positions import Positions, frames, inside, labels_of
from pertorch.tl._screen import Screen, Split
from pertorch.tl._status import FEW_PERTURBED, NO_DIRECTION, PERTURBED, Markers, Status, testable

if TYPE_CHECKING:
    from anndata import AnnData

NOT_PERTURBED = "NP"


@final
@dataclass
class Calls:
    """What is known of every cell, filled split by split."""

    responds: NDArray[np.bool_]
    posterior: NDArray[np.float64]
    status: list[Status] = field(default_factory=list)
    projections: list[Positions] = field(default_factory=list)

    @classmethod
    def none(cls, n_obs: int) -> Calls:
        """Nobody responds."""
        return cls(np.zeros(n_obs, dtype=bool), np.zeros(n_obs))

    def take(self, split: Split, batch: NDArray[np.int64], found: Responders, *, projections: bool) -> None:
        """What was found about a batch of targets of the split whose status came last; from host memory."""
        sizes = split.sizes[batch]
        cells = np.concatenate([split.cells(h) for h in batch.tolist()])
        self.responds[cells] = found.responds.numpy()[inside(sizes)]
        self.posterior[cells] = found.posterior.numpy()[inside(sizes)]
        if projections:
            self.projections.append(Positions.of(split, batch, cells, found.first))
        exists, collapsed = found.first.exists.numpy(), found.collapsed.numpy()
        self.status[-1].put(
            batch,
            np.where(exists, np.where(collapsed, FEW_PERTURBED, PERTURBED), NO_DIRECTION),
            n_iter=found.n_iter.numpy(),
            converged=found.converged.numpy(),
            perturbed_fraction=found.responds.numpy().sum(1) / sizes,
        )

    def write(
        self, adata: AnnData, screen: Screen, pert_key: str, column: str, perturbation_type: str, *, projections: bool
    ) -> None:
        """Classes, posteriors, projections and status."""
        kind = np.where(self.responds, 2, 1)
        kind[screen.groups.codes == screen.control] = 0
        kind[screen.groups.codes < 0] = -1
        names = np.array([str(name) for name in screen.groups.names], dtype=object)
        control = names[screen.control]
        adata.obs[column] = _classes(screen, kind, names, perturbation_type)
        adata.obs[f"{column}_global"] = labels_of(kind, [control, NOT_PERTURBED, perturbation_type])
        adata.obs[f"{column}_p_{perturbation_type.lower()}"] = self.posterior
        if projections:
            adata.uns["mixscape"] = frames(self.projections, screen, adata.obs_names, pert_key)
        adata.uns["mixscape_status"] = Status.frame(self.status, screen)


def classify(
    calls: Calls,
    signature: Signature,
    split: Split,
    markers: Markers,
    *,
    n_refinements: int,
    least: int,
    scale: bool,
    with_controls: bool,
    projections: bool,
    options: Mapping[str, Any],
) -> None:
    """Call the responding cells of one split into `calls`."""
    tested = testable(split, markers, least)
    calls.status.append(Status(split, markers, tested))
    work = partial(
        _responders,
        n_refinements=n_refinements,
        min_cells=least,
        scale=scale,
        with_controls=with_controls,
        projections=projections,
        options=options,
    )
    for batch, found in map_targets(work, signature, split, tested, resolve_devices(), "mixscape"):
        calls.take(split, batch, found, projections=projections)


def _responders(targets: Targets, controls: Controls, *, projections: bool, **how: Any) -> Responders:
    """Of a batch, in host memory."""
    return find_responders(targets, controls, **how).host(controls=projections)


def _classes(screen: Screen, kind: NDArray[np.int64], names: NDArray[Any], perturbation_type: str) -> pd.Categorical:
    """``"<target> KO"``, ``"<target> NP"``, the control's label, or missing."""
    control = names[screen.control]
    texts = [f"{name} {suffix}" for name in names for suffix in (NOT_PERTURBED, perturbation_type)]
    codes = np.where(kind > 0, 1 + 2 * screen.groups.codes + kind - 1, kind)
    return labels_of(codes, [control, *texts])
