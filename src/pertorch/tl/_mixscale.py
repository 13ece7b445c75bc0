"""``mixscale``: how strongly each cell was perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch._settings import seed_or_default
from pertorch.data import check_writable, obs_column
from pertorch.exec import resolve_devices
from pertorch.solvers.projection import Controls, Frame, Targets, project_clipped, project_without_each
from pertorch.solvers.responders import project_targets
from pertorch.tl._compare import TestMethod
from pertorch.tl._map_targets import map_targets
from pertorch.tl._markers import warn_of_single_cells
from pertorch.tl._mixscale_markers import Search, top_markers
from pertorch.tl._operator import find_signature
from pertorch.tl._scores import Line, Scores
from pertorch.tl._screen import Screen, check_choice, check_least, target_of
from pertorch.tl._status import Status, testable

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
    store_projections: bool = False,
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
    store_projections
        Whether to write ``adata.uns["mixscale"]``: target → split (or ``"all"``) → its cells and the controls × their
        position on the line (``pvec``), their label, and their position without each marker in turn. That is a number
        for each control and marker of each target: pertpy always writes it, rapids_singlecell never.

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
    if not copy:
        check_writable(adata)
    screen, signature = Screen.from_obs(adata, pert_key, control, split_by), find_signature(adata, layer)
    labels = obs_column(adata, fine_mode_labels) if fine_mode else None
    share = harmonize_min_proportion if harmonize and len(screen.splits) > 1 else None
    seed = seed_or_default(random_state)
    search = Search(test_method, logfc_threshold, pval_cutoff, max_de_genes, labels, share, seed)
    markers = top_markers(adata, screen, search, de_genes_by_target, de_layer)
    scores = Scores(np.zeros(adata.n_obs))

    work = partial(_line, scale=scale, clip=clip, controls_too=score_controls, positions=store_projections)
    for split, found in zip(screen.splits, markers, strict=True):
        tested = testable(split, found, min_de_genes)
        scores.status.append(Status(split, found, tested))
        for batch, line in map_targets(work, signature, split, tested, resolve_devices(), "mixscale"):
            scores.take(split, batch, line, tested, controls=score_controls, positions=store_projections)
    warn_of_single_cells(screen)
    target = target_of(adata, copy=copy)
    scores.write(target, screen, new_class_name, pert_key, controls=score_controls, positions=store_projections)
    target.uns["mixscale_de_genes"] = _names(screen, markers, adata.var_names, min_de_genes)
    return target if copy else None


def _line(
    targets: Targets, controls: Controls, *, scale: bool, clip: float | None, controls_too: bool, positions: bool
) -> Line:
    """Of a batch: see :meth:`Line.of`."""
    frame = Frame.over_all(targets, controls, scale=scale)
    line = (
        project_targets(targets, controls, scale=scale)
        if clip is None
        else project_clipped(targets, controls, frame, clip)
    )
    left_out = project_without_each(targets, controls, frame, clip) if positions else []
    return Line.of(line, left_out, controls=controls_too, positions=positions)


def _names(screen: Screen, markers: list[list[NDArray[np.int64]]], genes: pd.Index, least: int) -> dict[str, Any]:
    """Target → names of the markers that score it, over all splits."""
    found: dict[str, list[NDArray[np.int64]]] = {}
    for split, of_split in zip(screen.splits, markers, strict=True):
        for h, at in zip(split.targets, of_split, strict=True):
            if len(at) >= least:
                found.setdefault(str(screen.groups.names[h]), []).append(at)
    named = genes.to_numpy(dtype=object)
    return {
        target: named[parts[0] if len(parts) == 1 else pd.unique(np.concatenate(parts))]
        for target, parts in found.items()
    }
