"""``pertorch guides``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._formats import in_memory
from pertorch.cli._io import check_output, h5ad_writer, opened, write
from pertorch.cli._table import format_table
from pertorch.pp import GuideAssignment

if TYPE_CHECKING:
    from anndata import AnnData

THRESHOLD = 5.0
NONE = "negative"
LABEL = "assigned_guide"  # key in obs, as the library's
ASSIGNED = "assigned_guides"  # key in layers, as the library's
FITS = "guide_assignment"  # key in uns, as the library's
MOST_NAMED = 5  # guides in a label of the mixture, as the library's
MIXTURE = ("mixture", "poisson_gauss")
BY_COUNT = ("max", "maximum", "threshold", "umi")
BY_BATCH = ("2beta", "3beta", "gauss", "poisson", "negative_binomial", "binomial")


def run(args: Namespace) -> None:
    """Assign, print, write."""
    console = Console(args.quiet)
    check_output(args.out, (".csv", ".h5ad"))
    options = dict(args.set or [])
    if args.threshold is not None and args.method not in BY_COUNT:
        raise CliError(f"--method {args.method} finds its own thresholds: leave out --threshold.")
    if args.batch_key is not None and args.method not in BY_BATCH:
        raise CliError(f"--method {args.method} takes all cells together: leave out --batch-key.")
    if args.method in BY_COUNT:
        options.setdefault("assignment_threshold", THRESHOLD if args.threshold is None else args.threshold)
    with computing_on(args.device), opened(args.file, "guides") as found:
        adata = in_memory(found, args.file) if found.is_view else found  # what is no view takes labels, wherever X is
        assign(adata, args.method, args.layer, args.batch_key, options, progress=console.progress)
        _tell(args, adata, options, console)


def _tell(args: Namespace, adata: AnnData, options: Mapping[str, float], console: Console) -> None:
    console.note(f"{args.file}: {adata.n_obs:,} cells × {adata.n_vars:,} guides; {_how(args.method, options)}")
    print(summary(adata))
    print(format_table(by_guide(adata, args.method), args.top))
    if args.out and Path(args.out).suffix == ".csv":
        write(args.out, lambda path: adata.obs[LABEL].rename_axis("cell").to_csv(path))
    elif args.out:
        write(args.out, h5ad_writer(in_memory(adata, args.file)))


def assign(
    adata: AnnData,
    method: str,
    layer: str | None = None,
    batch_key: str | None = None,
    options: Mapping[str, float] | None = None,
    *,
    progress: bool = False,
) -> None:
    """Write one label per cell into ``obs["assigned_guide"]``, and what else the library writes.

    Cells without a guide are ``"negative"``; the names of several guides are joined by ``"+"``. The fit of the mixture
    goes to ``var`` too, as ``assign_mixture_model`` writes it.
    """
    given: dict[str, Any] = (
        {"assignment_threshold": THRESHOLD} if options is None and method in BY_COUNT else dict(options or {})
    )
    GuideAssignment().assign(
        adata,
        method="poisson_gauss" if method in MIXTURE else method,
        layer=layer,
        batch_key=batch_key,
        assigned_guides_key=LABEL,
        no_grna_assigned_key=NONE,
        max_assignments_per_cell=MOST_NAMED if method in MIXTURE else adata.n_vars,
        show_progress=progress,
        **given,
    )
    if method in MIXTURE:
        fits = adata.uns[FITS]["parameters"]
        adata.var[fits.columns] = fits.to_numpy()


def _how(method: str, options: Mapping[str, float]) -> str:
    if method in BY_COUNT:
        return f"{method}, at least {options['assignment_threshold']:g} counts"
    said = ", ".join(f"{name} {value:g}" for name, value in options.items())
    return ("a mixture for each guide" if method in MIXTURE else method) + (f", {said}" if said else "")


def summary(adata: AnnData) -> str:
    """How many cells carry no guide, one, several."""
    labels = adata.obs[LABEL]
    none, one = (labels == NONE).sum(), labels.isin(adata.var_names).sum()
    parts = {"no guide": none, "one guide": one, "several": len(labels) - none - one}
    return "   ".join(f"{what} {cells:,} ({cells / len(labels):.1%})" for what, cells in parts.items())


def by_guide(adata: AnnData, method: str) -> pd.DataFrame:
    """Cells that carry each guide alone, most first, and the threshold of each guide that has one of its own."""
    alone = adata.obs[LABEL].astype(str).value_counts().reindex(adata.var_names.unique(), fill_value=0)
    table = pd.DataFrame({"guide": alone.index, "cells": alone.to_numpy()})
    fits = adata.var if method in MIXTURE else adata.uns[FITS]["parameters"]
    if "threshold" in fits and len(fits) == len(table) == adata.n_vars:
        table["threshold"] = fits["threshold"].to_numpy()
    return table.sort_values("cells", ascending=False, kind="stable", ignore_index=True)
