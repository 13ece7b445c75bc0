"""Genes that tell a target's cells from the controls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import open_matrix
from pertorch.tl._compare import Comparison, TestMethod, compare
from pertorch.tl._screen import Screen, Split, check_choice

if TYPE_CHECKING:
    from anndata import AnnData


def perturbation_markers(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    targets: Sequence[Any] | None = None,
    layer: str | None = None,
    test_method: TestMethod = "wilcoxon",
    split_by: str | None = None,
    logfc_threshold: float | None = None,
    pval_cutoff: float | None = None,
) -> pd.DataFrame:
    """Every target's cells tested against the control, gene by gene: what ``mixscape`` selects its markers from.

    The definitions are scanpy's (``rank_genes_groups`` with the control as reference). Each gene's controls are
    sorted once for all targets, and the zeros of sparse data are never stored.

    Parameters
    ----------
    adata
        Annotated data with log-normalised expression.
    pert_key
        Column of ``adata.obs`` with the targets. Cells with a missing label take no part.
    control
        Label of the control cells in that column.
    targets
        Targets to test; ``None`` tests all.
    layer
        Key of ``adata.layers`` to test; ``None`` is ``adata.X``.
    test_method
        ``"wilcoxon"``: rank-sum test, normal approximation without correction for ties. ``"t-test"``: Welch.
        ``"t-test_overestim_var"``: the control counted as no larger than the target.
    split_by
        Column of ``adata.obs``: targets are tested against the controls of the same split, in each split by itself.
    logfc_threshold, pval_cutoff
        Keep only genes with at least this absolute log fold change, and with an adjusted p below this.

    Returns
    -------
    One row per target and gene: ``target``, ``gene``, ``score`` (z or t), ``logfoldchange`` (log2, of means taken back
    from the logarithm), ``pval``, ``pval_adj`` (Benjamini and Hochberg over genes); with `split_by`, ``split`` before
    them. Genes are in the order of the data. Targets with fewer than two cells in a split are left out, with a warning.

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ValueError
        If the control has no cells (at all, or in a split), a target is unknown, or the data hold NaN or infinity.

    Examples
    --------
    >>> import numpy as np, pandas as pd, anndata, pertorch
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(2, (90, 4)).astype("float32")
    >>> counts[60:, 1] += 4
    >>> obs = pd.DataFrame({"target": np.repeat(["NT", "A", "B"], 30)}, index=[str(i) for i in range(90)])
    >>> adata = anndata.AnnData(np.log1p(counts), obs)
    >>> pertorch.tl.perturbation_markers(adata, "target", "NT", pval_cutoff=0.05)[["target", "gene"]].values.tolist()
    [['B', '1']]
    """
    check_choice("test_method", test_method, get_args(TestMethod))
    screen = Screen.from_obs(adata, pert_key, control, split_by)
    wanted = None if targets is None else [screen.groups.index(target) for target in dict.fromkeys(targets)]
    matrix, base = open_matrix(adata, layer or "X"), log_base(adata)
    frames = []
    for split, tested in zip(screen.splits, compare(matrix, screen.splits, test_method, base), strict=True):
        found = tested.host()
        keep = (split.sizes > 1) & (True if wanted is None else np.isin(split.targets, wanted))
        frame = _frame(found, screen, split, adata.var_names, keep)
        if split_by is not None:
            frame.insert(0, "split", pd.Series([split.name] * len(frame), dtype=object))
        frames.append(_filtered(frame, logfc_threshold, pval_cutoff))
    warn_of_single_cells(screen)
    return pd.concat(frames, ignore_index=True)


def log_base(adata: AnnData) -> float | None:
    """Base of the logarithm that the data are in, as ``scanpy.pp.log1p`` notes it; ``None`` is natural."""
    base = adata.uns.get("log1p", {}).get("base")
    return None if base is None else float(base)


def warn_of_single_cells(screen: Screen) -> None:
    """One warning that names the targets which cannot be tested."""
    names = [
        f"{screen.groups.names[h]}{'' if split.name is None else f' in {split.name}'}"
        for split in screen.splits
        for h in split.targets[split.sizes < 2]
    ]
    if names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        warnings.warn(
            f"too few cells to test, one each: {', '.join(names[:10])}{more}. They count as not perturbed.",
            UserWarning,
            stacklevel=3,
        )


def _frame(found: Comparison, screen: Screen, split: Split, genes: pd.Index, keep: NDArray[np.bool_]) -> pd.DataFrame:
    names = [screen.groups.names[h] for h in split.targets[keep]]
    columns = {"score": found.scores, "logfoldchange": found.logfoldchanges, "pval": found.pvals}
    columns["pval_adj"] = found.pvals_adj
    target = pd.Series(names, dtype=object).repeat(len(genes)).reset_index(drop=True)
    gene = np.tile(genes.to_numpy(), len(names))
    return pd.DataFrame({"target": target, "gene": gene} | {key: v.numpy()[keep].ravel() for key, v in columns.items()})


def _filtered(frame: pd.DataFrame, logfc_threshold: float | None, pval_cutoff: float | None) -> pd.DataFrame:
    keep = np.ones(len(frame), dtype=bool)
    if logfc_threshold is not None:
        keep &= (frame["logfoldchange"].abs() >= logfc_threshold).to_numpy()
    if pval_cutoff is not None:
        keep &= (frame["pval_adj"] < pval_cutoff).to_numpy()
    return frame if keep.all() else frame[keep].reset_index(drop=True)
