"""``lda``: a map of the perturbed cells on which perturbations lie apart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data import Matrix, check_writable, nearest, open_matrix
from pertorch.exec import map_threads, resolve_devices, track
from pertorch.solvers.lda import discriminants
from pertorch.solvers.lda_axes import Group, Shared, bytes_of_group, principal_axes
from pertorch.tl._compare import TestMethod
from pertorch.tl._marker_sets import marker_sets
from pertorch.tl._screen import Screen, check_choice, check_least, target_of

if TYPE_CHECKING:
    from anndata import AnnData

# Targets whose axes are found together: their products with the controls are one. Of a GPU, as many as this holds.
GROUPS_AT_ONCE = 4
GPU_BYTES = 2**33
SLAB_BYTES = 2**25


def lda(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    mixscape_class_global: str = "mixscape_class_global",
    layer: str | None = None,
    n_comps: int | None = 10,
    min_de_genes: int = 5,
    logfc_threshold: float = 0.25,
    test_method: TestMethod = "wilcoxon",
    split_by: str | None = None,
    pval_cutoff: float = 0.05,
    perturbation_type: str = "KO",
    copy: bool = False,
) -> AnnData | None:
    """Linear discriminant analysis of the cells that ``mixscape`` calls perturbed, and the controls.

    Each target with markers contributes the principal axes of its perturbed cells and the controls (all genes, scaled
    to unit variance over them). All cells are projected on all axes, and the discriminants of the targets among these
    projections are the embedding.

    Parameters
    ----------
    adata
        Annotated data after :meth:`Mixscape.mixscape`.
    pert_key, control, min_de_genes, logfc_threshold, test_method, split_by, pval_cutoff, perturbation_type, copy
        As for :meth:`Mixscape.mixscape`; they decide which targets contribute.
    mixscape_class_global
        Column of ``adata.obs`` with the global classes.
    layer
        Key of ``adata.layers`` to find markers in; ``None`` is ``adata.X``. What is projected is always ``adata.X``.
    n_comps
        Principal axes of each target (``None``: 50), fewer where it has fewer cells or genes.

    Returns
    -------
    The copy with ``copy=True``, else ``None``. Writes ``adata.uns["mixscape_lda"]``: perturbed and control cells in the
    order of the data × (labels among them − 1), float64. Of each column the gene with the largest loading has a
    positive one.

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ValueError
        If ``mixscape`` was not run, no target has markers and perturbed cells, the control has no cells, or the data
        hold NaN or infinity.
    """
    check_choice("test_method", test_method, get_args(TestMethod))
    check_least("n_comps", n_comps, 1)
    if not copy:
        check_writable(adata)
    if mixscape_class_global not in adata.obs.columns:
        raise ValueError(
            f"obs column {mixscape_class_global!r} not found: run mixscape first, or name its global column "
            f"({nearest(mixscape_class_global, adata.obs.columns)})"
        )
    screen = Screen.from_obs(adata, pert_key, control, split_by)
    codes, matrix = screen.groups.codes, open_matrix(adata, "X")
    perturbed = (adata.obs[mixscape_class_global].astype(str) == perturbation_type).to_numpy() & (codes >= 0)
    controls = np.flatnonzero(codes == screen.control)
    sets = marker_sets(
        adata, screen, None, layer, test_method, logfc_threshold=logfc_threshold, pval_cutoff=pval_cutoff
    )
    tested = {
        int(h)
        for split, of_split in zip(screen.splits, sets, strict=True)
        for h, size, genes in zip(split.targets, split.sizes, of_split, strict=True)
        if size > 1 and len(genes) >= min_de_genes
    }
    groups = [np.flatnonzero(perturbed & (codes == h)) for h in sorted(tested)]
    groups = [cells for cells in groups if len(cells)]
    if not groups:
        raise ValueError(
            f"no target has both {min_de_genes} markers and cells of class {perturbation_type!r}: nothing to separate. "
            "Lower min_de_genes or logfc_threshold, or check perturbation_type."
        )
    device = resolve_devices()[0]
    rows = np.flatnonzero(perturbed | (codes == screen.control))
    labels, classes = np.unique(codes[rows], return_inverse=True)
    if matrix.is_file:  # read once, as it is stored
        matrix, groups = matrix.taken(rows), [np.searchsorted(rows, cells) for cells in groups]
        controls, rows = np.searchsorted(rows, controls), np.arange(len(rows))
    axes = _axes(matrix, controls, groups, n_comps or 50, device)
    features = _project(matrix, rows, axes, device)
    loadings = discriminants(features, torch.from_numpy(classes).to(device), len(labels))
    of_genes = axes @ loadings
    largest = of_genes.gather(0, of_genes.abs().argmax(0, keepdim=True))
    embedding = (features @ (loadings * largest.sign())).cpu().numpy()
    target = target_of(adata, copy=copy)
    target.uns["mixscape_lda"] = embedding
    return target if copy else None


def _axes(
    matrix: Matrix, controls: NDArray[np.int64], groups: list[NDArray[np.int64]], n_comps: int, device: torch.device
) -> torch.Tensor:
    """Axes of all targets side by side: genes × (targets · components)."""
    shared = Shared.of(matrix.rows(torch.from_numpy(controls).to(device)).double())

    def work(batch: list[NDArray[np.int64]]) -> list[torch.Tensor]:
        read = (matrix.rows(torch.from_numpy(cells).to(device)).double() for cells in batch)
        return principal_axes(shared, [Group.beside(shared, cells) for cells in read], n_comps)

    step = GROUPS_AT_ONCE
    if device.type != "cpu":
        step = max(step, GPU_BYTES // bytes_of_group(len(controls), max(map(len, groups)), matrix.shape[1]))
    batches = [groups[start : start + step] for start in range(0, len(groups), step)]
    found = track(map_threads(work, batches, device), len(groups), "axes of targets", unit="targets", size=len)
    return torch.cat(list(itertools.chain.from_iterable(found)), 1)


def _project(matrix: Matrix, rows: NDArray[np.int64], axes: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Centred, unscaled cells on the axes, slab by slab."""
    parts = torch.from_numpy(rows).to(device).split(max(1, SLAB_BYTES // (8 * matrix.shape[1])))
    projected = map_threads(lambda part: matrix.rows(part).double() @ axes, parts, device)
    out = torch.cat(list(track(projected, len(rows), "projections", unit="cells", size=len)))
    return out - out.mean(0)
