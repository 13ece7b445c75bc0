"""How often ``mixscape`` would find perturbed cells of its targets, by the number of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch.data import open_matrix
from pertorch.exec import progress_bar
from pertorch.tl._arguments import level_between
from pertorch.tl._classify import Calls, classify
from pertorch.tl._compare import TestMethod, compare
from pertorch.tl._markers import log_base
from pertorch.tl._operator import find_signature
from pertorch.tl._power_design import Design
from pertorch.tl._screen import Split, check_choice, check_least

if TYPE_CHECKING:
    from anndata import AnnData

STATISTICS = 2**22  # of targets × genes that are tested at once


def mixscape_power(
    adata: AnnData,
    pert_key: str,
    control: Any,
    n_cells: Sequence[int] | int,
    *,
    groups: Sequence[Any] | None = None,
    n_replicates: int = 50,
    layer: str | None = None,
    min_de_genes: int = 5,
    logfc_threshold: float = 0.25,
    de_layer: str | None = None,
    test_method: TestMethod = "wilcoxon",
    iter_num: int = 10,
    scale: bool = True,
    pval_cutoff: float = 0.05,
    fit_on: str = "all",
    confidence_level: float = 0.95,
    random_state: int | None = None,
    show_progressbar: bool | None = None,
) -> pd.DataFrame:
    """How often :meth:`Mixscape.mixscape` would find perturbed cells of a target if it had so many cells.

    Screens of `n_cells` cells per target are drawn from a pilot, without replacement, beside all of its controls, and
    each is classified. A target is found where it has markers enough and cells that are called perturbed: Mixscape has
    no test of a target, so that what it finds of a target without effect is no level of one, but shows in the table
    when some controls are labelled as a target.

    Parameters
    ----------
    adata
        The pilot, after :meth:`Mixscape.perturbation_signature` (whole, or with ``materialize=False``).
    pert_key, control, layer, min_de_genes, logfc_threshold, de_layer, test_method, iter_num, scale, pval_cutoff, fit_on
        As for :meth:`Mixscape.mixscape`; no `split_by`.
    n_cells, groups, n_replicates, confidence_level, random_state, show_progressbar
        As for :func:`distance_power`.

    Returns
    -------
    A table as that of :func:`distance_power`, and ``perturbed_fraction``: mean share of a target's cells that are
    called perturbed, over all of its replicates.

    Raises
    ------
    KeyError
        If a column or layer, or the signature, does not exist.
    ValueError
        If the control or a target has no cells, no target has cells enough, the data hold NaN or infinity, or an
        argument is out of range.

    Warns
    -----
    UserWarning
        If targets have too few cells for the larger sizes.
    """
    check_choice("test_method", test_method, get_args(TestMethod))
    check_choice("fit_on", fit_on, ("all", "targets"))
    check_least("iter_num", iter_num, 0)
    check_least("min_de_genes", min_de_genes, 1)
    level_between(confidence_level)
    design = Design.of(adata, pert_key, control, n_cells, groups, n_replicates, random_state, replace=False)
    signature, matrix = find_signature(adata, layer), open_matrix(adata, de_layer or "X")
    order = design.groups.order(torch.device("cpu")).numpy()
    members = np.split(order, design.groups.offsets[1:-1].numpy())
    rows: list[dict[str, Any]] = []
    step = max(1, STATISTICS // matrix.shape[1])
    total = sum(len(design.targets_at(n)) for n in design.sizes) * design.n_replicates
    with progress_bar(lambda: total, "power", show_progressbar, unit="targets") as bar:
        for n in design.sizes:
            targets = design.targets_at(n)
            drawn = np.concatenate([np.sort(members[t][design.draw(t, n).numpy()]) for t in targets])
            perturbed, fractions = [], []
            for start in range(0, len(drawn), step):
                split = _beside(members[design.control], drawn[start : start + step])
                (compared,) = compare(matrix, [split], test_method, log_base(adata))
                tested = compared.passing(logfc_threshold, pval_cutoff)
                calls = Calls.none(adata.n_obs)
                classify(
                    calls, signature, split, [of.genes for of in tested],
                    n_refinements=iter_num, least=min_de_genes, scale=scale, with_controls=fit_on == "all",
                    projections=False, options={},
                )  # fmt: skip
                perturbed.append(calls.status[0].perturbed)
                fractions.append(calls.status[0].column("perturbed_fraction"))
                bar.update(len(split.targets))
            of_targets = (np.concatenate(part).reshape(-1, design.n_replicates) for part in (perturbed, fractions))
            for t, detected, fraction in zip(targets, *of_targets, strict=True):
                found = {"n_detected": int(detected.sum()), "perturbed_fraction": float(fraction.mean())}
                rows.append({"target": t, "n_cells": n, "n_controls": len(members[design.control]), **found})
    return design.table(rows, confidence_level)


def _beside(controls: NDArray[np.int64], drawn: NDArray[np.int64]) -> Split:
    """The controls, and each row of `drawn` as the cells of a target of its own; cells may be those of several."""
    n_targets, n = drawn.shape
    offsets = np.concatenate([[0], len(controls) + n * np.arange(n_targets + 1)])
    rows = np.concatenate([controls, drawn.ravel()])
    return Split(None, np.unique(rows), rows, offsets, np.arange(n_targets))
