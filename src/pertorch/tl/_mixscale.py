"""``mixscale``: how strongly each cell was perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch._settings import seed_or_default
from pertorch.data import obs_column
from pertorch.exec import resolve_devices, track
from pertorch.solvers.projection import Frame, Projection, project, project_clipped
from pertorch.tl._blocks import Markers, cut_batches, read_controls, target_reader
from pertorch.tl._classify import NO_DIRECTION, status_frame, status_row, testable, untested_rows
from pertorch.tl._compare import TestMethod
from pertorch.tl._markers import warn_of_single_cells
from pertorch.tl._mixscale_markers import Search, top_markers
from pertorch.tl._operator import find_signature
from pertorch.tl._parts import in_parts
from pertorch.tl._screen import Screen, Split, check_choice, check_least, target_of

if TYPE_CHECKING:
    from anndata import AnnData


def mixscale(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    new_class_name: str = "mixscale_score",
    layer: str | None = None,
    min_de_genes: int = 5,
    max_de_genes: int = 100,
    logfc_threshold: float = 0.25,
    de_layer: str | None = None,
    test_method: TestMethod = "wilcoxon",
    scale: bool = True,
    split_by: str | None = None,
    pval_cutoff: float = 0.05,
    perturbation_type: str = "KO",
    fine_mode: bool = False,
    fine_mode_labels: str = "guide_id",
    de_genes_by_target: Mapping[Any, Sequence[str]] | pd.DataFrame | None = None,
    harmonize: bool = False,
    harmonize_min_proportion: float = 0.1,
    random_state: int | None = None,
    clip: float | None = None,
    score_controls: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Continuous perturbation scores (Mixscale; Jiang et al. 2025).

    A cell's score is its position on the line from the controls to its target's cells, in the signature of the target's
    markers, in standard deviations of the controls from their mean. Markers are found over all splits together, scores
    in each split by itself.

    Parameters
    ----------
    adata
        Annotated data after ``perturbation_signature``.
    pert_key, control, layer, logfc_threshold, pval_cutoff, de_layer, test_method, split_by, copy
        As for :func:`mixscape`.
    new_class_name
        Column of ``adata.obs`` to write.
    min_de_genes, max_de_genes
        Fewest markers of a target that is scored, and most that are used: those of the smallest p, raised and lowered
        genes alike.
    scale
        Whether markers are scaled to unit variance over a target's cells and the controls.
    perturbation_type
        Accepted for the peers' sake: a score has no class.
    fine_mode, fine_mode_labels
        Whether to find markers of each guide (column `fine_mode_labels` of ``adata.obs``) and take their union.
    de_genes_by_target
        Markers of your own instead of the test: gene names by target, or a table such as
        :func:`pertorch.tl.perturbation_markers` returns. All are used.
    harmonize, harmonize_min_proportion, random_state
        Whether markers are tested against a random part of the controls that is spread over the splits as the target's
        cells are. Splits with the fewest controls are left out of the test until that part is at least so large a
        share of the controls. Seed; ``None`` is ``pertorch.settings.seed``.
    clip
        Scaled values above are taken as this (10 in the R package).
    score_controls
        Whether to write ``adata.uns[f"{new_class_name}_controls"]``: the score of each control (row) on each target's
        line (column).

    Returns
    -------
    The copy with ``copy=True``, else ``None``. Writes ``adata.obs[new_class_name]`` (0 for controls and for cells that
    were not scored), ``adata.uns["mixscale_de_genes"]`` (target → markers) and ``adata.uns["mixscale_status"]``.

    Raises
    ------
    KeyError
        If a column or layer, or the signature, does not exist.
    ValueError
        If the control has no cells (at all, or in a split), the data hold NaN or infinity, or an argument is out of
        range.
    """
    del perturbation_type
    check_choice("test_method", test_method, get_args(TestMethod))
    for name, value, least in (
        ("min_de_genes", min_de_genes, 1),
        ("max_de_genes", max_de_genes, min_de_genes),
        ("harmonize_min_proportion", harmonize_min_proportion, 0),
    ):
        check_least(name, value, least)
    if clip is not None and not clip > 0:
        raise ValueError(f"clip={clip!r} must be greater than 0.")
    screen, signature = Screen.from_obs(adata, pert_key, control, split_by), find_signature(adata, layer)
    labels = obs_column(adata, fine_mode_labels) if fine_mode else None
    share = harmonize_min_proportion if harmonize and len(screen.splits) > 1 else None
    seed = seed_or_default(random_state)
    search = Search(test_method, logfc_threshold, pval_cutoff, max_de_genes, labels, share, seed)
    markers = top_markers(adata, screen, search, de_genes_by_target, de_layer)
    scores = _Scores(np.zeros(adata.n_obs))
    device = resolve_devices()[0]
    for near, split, found in in_parts(signature, screen.splits, markers, min_de_genes):
        tested = testable(split, found, min_de_genes)
        scores.status += untested_rows(split, found, tested)
        controls, union = read_controls(near, split, tested, device)
        read = target_reader(near, split, tested, union, device)
        batches = cut_batches(split, tested, device)
        for batch in track(batches, sum(map(len, batches)), "mixscale", unit="targets", size=len):
            targets = read(batch)
            frame = Frame.over_all(targets, controls, scale=scale)
            if clip is None:
                line = project(targets, controls, frame, targets.inside)
            else:
                line = project_clipped(targets, controls, frame, clip)
            scores.take(split, batch, line, tested, with_controls=score_controls)
    warn_of_single_cells(screen)
    target = target_of(adata, copy=copy)
    scores.write(target, screen, new_class_name, with_controls=score_controls)
    target.uns["mixscale_de_genes"] = _names(screen, markers, adata.var_names, min_de_genes)
    return target if copy else None


@final
@dataclass
class _Scores:
    """Scores of all cells, filled split by split."""

    values: NDArray[np.float64]
    status: list[dict[str, Any]] = field(default_factory=list)
    of_controls: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = field(default_factory=dict)

    def take(
        self, split: Split, batch: NDArray[np.int64], line: Projection, tested: Markers, *, with_controls: bool
    ) -> None:
        """Standardise a batch by its controls."""
        centre = line.of_controls.mean(1, keepdim=True)
        spread = line.of_controls.std(1, keepdim=True) if len(split.controls) > 1 else torch.ones_like(centre)
        spread = torch.where(spread > 0, spread, 1.0)
        scores = ((line.of_targets - centre) / spread).cpu().numpy()
        controls = ((line.of_controls - centre) / spread).cpu().numpy() if with_controls else None
        for b, (h, exists) in enumerate(zip(batch.tolist(), line.exists.tolist(), strict=True)):
            cells = split.cells(h)
            if exists:
                self.values[cells] = scores[b, : len(cells)]
                if controls is not None:
                    self.of_controls.setdefault(int(split.targets[h]), []).append((split.controls, controls[b]))
            status = "scored" if exists else NO_DIRECTION
            self.status.append(
                status_row(split, h, len(tested[h]), status, mean_score=float(self.values[cells].mean()))
            )

    def write(self, adata: AnnData, screen: Screen, column: str, *, with_controls: bool) -> None:
        """Scores, status, and where asked for the controls' own scores."""
        adata.obs[column] = self.values
        adata.uns["mixscale_status"] = status_frame(self.status, screen)
        if with_controls:
            scored = sorted(self.of_controls)
            table = np.full((adata.n_obs, len(scored)), np.nan)
            for column_at, h in enumerate(scored):
                for rows, values in self.of_controls[h]:
                    table[rows, column_at] = values
            rows = np.flatnonzero(screen.groups.codes == screen.control)
            names = [str(screen.groups.names[h]) for h in scored]
            adata.uns[f"{column}_controls"] = pd.DataFrame(table[rows], index=adata.obs_names[rows], columns=names)


def _names(screen: Screen, markers: list[list[NDArray[np.int64]]], genes: pd.Index, least: int) -> dict[str, Any]:
    """Target → names of the markers that score it, over all splits."""
    found: dict[str, list[NDArray[np.int64]]] = {}
    for split, of_split in zip(screen.splits, markers, strict=True):
        for h, at in zip(split.targets, of_split, strict=True):
            if len(at) >= least:
                found.setdefault(str(screen.groups.names[h]), []).append(at)
    named = genes.to_numpy(dtype=object)
    return {target: named[pd.unique(np.concatenate(parts))] for target, parts in found.items()}
