"""Calls of perturbed cells, split by split, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.exec import map_threads, resolve_devices, track
from pertorch.solvers.gauss_mixture_refine import Responders, find_responders
from pertorch.solvers.projection import Projection
from pertorch.tl._blocks import Markers, cut_batches, read_controls, target_reader
from pertorch.tl._operator import Signature
from pertorch.tl._screen import Screen, Split, split_key

if TYPE_CHECKING:
    from anndata import AnnData

NOT_PERTURBED = "NP"
NULLABLE = {"n_iter": "Int64", "converged": "boolean", "perturbed_fraction": "float64", "mean_score": "float64"}
ONE_CELL, FEW_MARKERS, NO_DIRECTION = "one cell", "too few markers", "no direction"


@final
@dataclass(frozen=True)
class Positions:
    """Where the cells of one target and its controls lie on the line between them."""

    rows: NDArray[np.int64]
    is_control: NDArray[np.bool_]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, split: Split, h: int, b: int, projection: Projection) -> Positions:
        """Of the split's `h`-th target, the `b`-th of its batch, in the order of the data; from host memory."""
        cells, controls = split.cells(h), split.controls  # each ascending
        is_control = np.ones(len(controls) + len(cells), dtype=bool)
        is_control[np.searchsorted(controls, cells) + np.arange(len(cells))] = False
        rows, values = np.empty(len(is_control), dtype=np.int64), np.empty(len(is_control))
        rows[is_control], values[is_control] = controls, projection.of_controls[b].numpy()
        rows[~is_control], values[~is_control] = cells, projection.of_targets[b, : len(cells)].numpy()
        return cls(rows, is_control, values)


@final
@dataclass
class Calls:
    """What is known of every cell, filled split by split."""

    responds: NDArray[np.bool_]
    posterior: NDArray[np.float64]
    status: list[dict[str, Any]] = field(default_factory=list)
    projections: dict[int, dict[str, Positions]] = field(default_factory=dict)

    @classmethod
    def none(cls, n_obs: int) -> Calls:
        """Nobody responds."""
        return cls(np.zeros(n_obs, dtype=bool), np.zeros(n_obs))

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
        adata.obs[f"{column}_global"] = _labels(kind, [control, NOT_PERTURBED, perturbation_type])
        adata.obs[f"{column}_p_{perturbation_type.lower()}"] = self.posterior
        if projections:
            adata.uns["mixscape"] = self._frames(screen, names, adata.obs_names, pert_key)
        adata.uns["mixscape_status"] = status_frame(self.status, screen)

    def _frames(
        self, screen: Screen, names: NDArray[Any], obs_names: pd.Index, pert_key: str
    ) -> dict[str, dict[str, pd.DataFrame]]:
        """Projections as both peers store them: target → split → cells × (``pvec``, label)."""
        every = [(target, key, at) for target, parts in self.projections.items() for key, at in parts.items()]
        if not every:
            return {}
        # One table cut up: making one takes pandas longer than all of their rows.
        codes = np.concatenate([np.where(at.is_control, screen.control, target) for target, _, at in every])
        table = pd.DataFrame(
            {"pvec": np.concatenate([at.values for *_, at in every]), pert_key: _labels(codes, names, only_used=False)},
            index=obs_names[np.concatenate([at.rows for *_, at in every])],
        )
        frames: dict[str, dict[str, pd.DataFrame]] = {}
        stop = 0
        for target, key, at in every:
            start, stop = stop, stop + len(at.rows)
            frames.setdefault(names[target], {})[key] = table.iloc[start:stop]
        return frames


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
    device = resolve_devices()[0]
    tested = testable(split, markers, least)
    calls.status += untested_rows(split, markers, tested)
    controls, union = read_controls(signature, split, tested, device)
    read = target_reader(signature, split, tested, union, device)

    def work(batch: NDArray[np.int64]) -> Responders:
        found = find_responders(
            read(batch),
            controls,
            n_refinements=n_refinements,
            min_cells=least,
            scale=scale,
            with_controls=with_controls,
            options=options,
        )
        return found.host(controls=projections)

    batches = cut_batches(split, tested, device)
    n_targets = sum(map(len, batches))
    done = zip(batches, map_threads(work, batches, device), strict=True)
    for batch, found in track(done, n_targets, "mixscape", unit="targets", size=lambda both: len(both[0])):
        for b, h in enumerate(batch.tolist()):
            cells = split.cells(h)
            calls.responds[cells] = found.responds[b, : len(cells)].numpy()
            calls.posterior[cells] = found.posterior[b, : len(cells)].numpy()
            if projections:
                of_target = calls.projections.setdefault(int(split.targets[h]), {})
                of_target[split_key(split)] = Positions.of(split, h, b, found.first)
            calls.status.append(_tested_row(split, h, b, len(tested[h]), found, float(calls.responds[cells].mean())))


def testable(split: Split, markers: Markers, least: int) -> list[NDArray[np.int64]]:
    """The markers, none where a target has a single cell or fewer markers than `least`."""
    return [
        genes if size > 1 and len(genes) >= least else genes[:0]
        for genes, size in zip(markers, split.sizes.tolist(), strict=True)
    ]


def untested_rows(split: Split, found: Markers, tested: Markers) -> list[dict[str, Any]]:
    """Status of the targets that are not tested, and why."""
    return [
        status_row(split, h, len(found[h]), ONE_CELL if split.sizes[h] < 2 else FEW_MARKERS)
        for h in range(len(split.targets))
        if not len(tested[h])
    ]


def status_row(split: Split, h: int, n_markers: int, status: str, **more: Any) -> dict[str, Any]:
    """One row of the table of status."""
    start = {"target": int(split.targets[h]), "split": split_key(split), "n_cells": int(split.sizes[h])}
    return start | {"n_markers": n_markers} | more | {"status": status}


def status_frame(rows: Sequence[Mapping[str, Any]], screen: Screen) -> pd.DataFrame:
    """The rows by split and target, with names for targets."""
    columns = dict.fromkeys(key for row in rows for key in row if key != "status")
    frame = pd.DataFrame(rows, columns=[*(columns or ("target", "split")), "status"])
    order = np.lexsort([frame["target"], pd.factorize(frame["split"])[0]])
    frame = frame.iloc[order].reset_index(drop=True)
    # Missing where a target was not tested: such columns must still be written to a file.
    frame = frame.astype({name: dtype for name, dtype in NULLABLE.items() if name in frame})
    frame["target"] = [str(screen.groups.names[h]) for h in frame["target"]]
    return frame


def _tested_row(split: Split, h: int, b: int, n_markers: int, found: Responders, fraction: float) -> dict[str, Any]:
    if not bool(found.first.exists[b]):
        status = NO_DIRECTION
    elif bool(found.collapsed[b]):
        status = "too few perturbed cells"
    else:
        status = "perturbed"
    return status_row(
        split,
        h,
        n_markers,
        status,
        n_iter=int(found.n_iter[b]),
        converged=bool(found.converged[b]),
        perturbed_fraction=fraction,
    )


def _classes(screen: Screen, kind: NDArray[np.int64], names: NDArray[Any], perturbation_type: str) -> pd.Categorical:
    """``"<target> KO"``, ``"<target> NP"``, the control's label, or missing."""
    control = names[screen.control]
    texts = [f"{name} {suffix}" for name in names for suffix in (NOT_PERTURBED, perturbation_type)]
    codes = np.where(kind > 0, 1 + 2 * screen.groups.codes + kind - 1, kind)
    return _labels(codes, [control, *texts])


def _labels(codes: NDArray[np.int64], texts: Sequence[str] | NDArray[Any], *, only_used: bool = True) -> pd.Categorical:
    """A categorical of the texts, those that occur or all; −1 is missing."""
    categories, where = np.unique(np.array(texts, dtype=object), return_inverse=True)
    codes = np.where(codes < 0, -1, where[codes])
    labels = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories), validate=False)
    return labels.remove_unused_categories() if only_used else labels
