"""``pertorch guides``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from scipy.sparse import csr_array

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._io import check_output, opened, write
from pertorch.cli._table import format_table
from pertorch.pp import GuideAssignment
from pertorch.pp._labels import Wording, all_guides

if TYPE_CHECKING:
    from anndata import AnnData

THRESHOLD = 5.0
NONE = "negative"
LABEL = "assigned_guide"  # key in obs, as the library's
MATRIX = "assigned_guides"  # key in layers, as the library's


def run(args: Namespace) -> None:
    """Assign, print, write."""
    console = Console(args.quiet)
    check_output(args.out, (".csv", ".h5ad"))
    if args.method == "mixture" and args.threshold is not None:
        raise CliError("--method mixture fits a threshold to each guide: leave out --threshold.")
    threshold = THRESHOLD if args.threshold is None else args.threshold
    with computing_on(args.device):
        with opened(args.file) as backed:
            adata = backed.to_memory()
        assign(adata, args.method, threshold, args.layer, progress=console.progress)
    how = "a mixture for each guide" if args.method == "mixture" else f"{args.method}, at least {threshold:g} counts"
    console.note(f"{args.file}: {adata.n_obs:,} cells × {adata.n_vars:,} guides; {how}")
    print(summary(adata))
    print(format_table(by_guide(adata, fitted=args.method == "mixture"), args.top))
    if args.out and Path(args.out).suffix == ".csv":
        write(args.out, lambda path: adata.obs[LABEL].rename_axis("cell").to_csv(path))
    elif args.out:
        write(args.out, adata.write_h5ad)


def assign(
    adata: AnnData, method: str, threshold: float = THRESHOLD, layer: str | None = None, *, progress: bool = False
) -> None:
    """Write one label per cell into ``obs["assigned_guide"]``, and what else the method writes.

    Cells without a guide are ``"negative"``; the names of several guides are joined by ``"+"``.
    """
    guides = GuideAssignment()
    if method == "mixture":
        guides.assign_mixture_model(
            adata, layer=layer, assigned_guides_key=LABEL, no_grna_assigned_key=NONE, show_progress=progress
        )
    elif method == "max":
        guides.assign_to_max_guide(
            adata, assignment_threshold=threshold, layer=layer, obs_key=LABEL, no_grna_assigned_key=NONE
        )
    else:
        guides.assign_by_threshold(adata, assignment_threshold=threshold, layer=layer, output_layer=MATRIX)
        wording = Wording(none=NONE, joint="+", many="multiple", most=adata.n_vars)
        adata.obs[LABEL] = all_guides(csr_array(adata.layers[MATRIX]), adata.var_names, wording)


def summary(adata: AnnData) -> str:
    """How many cells carry no guide, one, several."""
    labels = adata.obs[LABEL]
    none, one = (labels == NONE).sum(), labels.isin(adata.var_names).sum()
    parts = {"no guide": none, "one guide": one, "several": len(labels) - none - one}
    return "   ".join(f"{what} {cells:,} ({cells / len(labels):.1%})" for what, cells in parts.items())


def by_guide(adata: AnnData, *, fitted: bool) -> pd.DataFrame:
    """Cells that carry each guide alone, most first, and the threshold that was fitted to it."""
    alone = adata.obs[LABEL].astype(str).value_counts().reindex(adata.var_names.unique(), fill_value=0)
    table = pd.DataFrame({"guide": alone.index, "cells": alone.to_numpy()})
    if fitted and adata.var_names.is_unique:
        table["threshold"] = adata.var["threshold"].to_numpy()
    return table.sort_values("cells", ascending=False, kind="stable", ignore_index=True)
