"""``pertorch mixscape``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._embedding import log_normalise, principal_components, read_expression
from pertorch.cli._io import check_output, opened, write
from pertorch.cli._question import label_that_reads
from pertorch.cli._table import format_table
from pertorch.data import Groups, nearest
from pertorch.data._matrix import DEFAULT_EMBEDDING
from pertorch.tl import Mixscape, perturbation_markers
from pertorch.tl._screen import Screen

if TYPE_CHECKING:
    from anndata import AnnData

N_PCS = 50
RESULT = "pertorch_mixscape"  # key in uns of the annotated file
SCORE = "mixscale_score"  # as the library's


def run(args: Namespace) -> None:
    """Signature, classes, scores where asked for: print, write. What is wrong is found before the work."""
    console = Console(args.quiet)
    check_output(args.out, (".csv", ".h5ad"))
    check_output(args.markers, (".csv",), option="--markers")
    with computing_on(args.device), opened(args.file) as backed:
        control = label_that_reads(Groups.from_obs(backed, args.groupby), args.control)
        screen = Screen.from_obs(backed, args.groupby, control, args.split_by)
        if not screen.targets:
            raise CliError(f"obs column {args.groupby!r} has no group to compare with {args.control!r}.")
        work = _prepared(backed, args, console)
        thresholds = {"split_by": args.split_by, "logfc_threshold": args.logfc, "pval_cutoff": args.pval}
        how = thresholds | {"min_de_genes": args.min_markers}
        tool = Mixscape()
        tool.perturbation_signature(
            work, args.groupby, control, split_by=args.split_by, n_neighbors=args.neighbors, materialize=False
        )
        tool.mixscape(work, args.groupby, control, perturbation_type=args.type, store_projections=False, **how)
        if args.mixscale:
            tool.mixscale(work, args.groupby, control, **how)
        print(format_table(by_target(work, split=args.split_by is not None), args.top))
        if args.markers:
            table = perturbation_markers(work, args.groupby, control, **thresholds)
            write(args.markers, lambda path: table.to_csv(path, index=False))
        if args.out:
            _write(args, backed, work)


def _prepared(adata: AnnData, args: Namespace, console: Console) -> AnnData:
    """Log-normalised expression in memory, with labels and an embedding in which neighbours are near."""
    from anndata import AnnData

    if args.obsm is not None and args.obsm not in adata.obsm:
        raise CliError(f"obsm key {args.obsm!r} not found: {nearest(args.obsm, adata.obsm)}")
    read = read_expression(adata, args.counts, args.total_counts, args.exclude_genes or [])
    if read.kind == "scaled":
        raise CliError("Mixscape compares log-normalised expression, not scaled: name a layer with --counts.")
    for line in read.notes:
        console.note(line)
    values = read.values if read.totals is None else log_normalise(read.values, read.totals)
    key = args.obsm or next((key for key in DEFAULT_EMBEDDING if key in adata.obsm and args.n_pcs is None), None)
    space = principal_components(values, args.n_pcs or N_PCS) if key is None else adata.obsm[key]
    console.note(f"neighbours in {key}" if key else f"neighbours in {space.shape[1]} principal components, made here")
    kept = pd.DataFrame(index=adata.var_names[read.kept])
    return AnnData(values.astype(np.float32), obs=adata.obs.copy(), var=kept, obsm={"X_pca": space})


def by_target(adata: AnnData, *, split: bool) -> pd.DataFrame:
    """Each target (in each split): cells, markers, share perturbed, mean score, status; the most perturbed first."""
    status = adata.uns["mixscape_status"]
    found = status["perturbed_fraction"] if "perturbed_fraction" in status else pd.Series(np.nan, index=status.index)
    table = status[["target", *(["split"] if split else []), "n_cells", "n_markers"]].copy()
    table = table.rename(columns={"n_cells": "cells", "n_markers": "markers"})
    table["perturbed"] = found.astype(float).fillna(0.0)
    if "mixscale_status" in adata.uns:
        scores = adata.uns["mixscale_status"].set_index(["target", "split"])
        mean = scores.get("mean_score", pd.Series(0.0, index=scores.index)).astype(float).fillna(0.0)
        table["score"] = mean.reindex(pd.MultiIndex.from_frame(status[["target", "split"]])).to_numpy()
    table["status"] = status["status"]
    return table.sort_values("perturbed", ascending=False, kind="stable", ignore_index=True)


def _write(args: Namespace, adata: AnnData, work: AnnData) -> None:
    columns = ["mixscape_class", "mixscape_class_global", f"mixscape_class_p_{args.type.lower()}"]
    calls = work.obs[[*columns, *([SCORE] if args.mixscale else [])]]
    if Path(args.out).suffix == ".csv":
        write(args.out, lambda path: calls.rename_axis("cell").to_csv(path))
        return
    full = adata.to_memory()
    full.obs[calls.columns] = calls
    asked = {name: value for name, value in vars(args).items() if value is not None and name != "run"}
    full.uns[RESULT] = {"arguments": asked} | {
        key: work.uns[key] for key in ("mixscape_status", "mixscale_status", "mixscale_de_genes") if key in work.uns
    }
    write(args.out, full.write_h5ad)
