"""``pertorch mixscape``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._formats import in_memory
from pertorch.cli._io import check_output, h5ad_writer, opened, write
from pertorch.cli._prepare import prepare
from pertorch.cli._question import label_that_reads
from pertorch.cli._table import format_table
from pertorch.data import Groups
from pertorch.tl import Mixscape, perturbation_markers
from pertorch.tl._screen import Screen

if TYPE_CHECKING:
    from anndata import AnnData

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
        how_read = {"layer": args.counts, "total_counts": args.total_counts, "exclude": args.exclude_genes or []}
        work = prepare(backed, **how_read, obsm=args.obsm, n_pcs=args.n_pcs, note=console.note).work
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
    full = in_memory(adata, args.file)
    full.obs[calls.columns] = calls
    asked = {name: value for name, value in vars(args).items() if value is not None and name != "run"}
    full.uns[RESULT] = {"arguments": asked} | {
        key: work.uns[key] for key in ("mixscape_status", "mixscale_status", "mixscale_de_genes") if key in work.uns
    }
    write(args.out, h5ad_writer(full))
