"""``pertorch power``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._io import check_output, opened, write
from pertorch.cli._prepare import prepare
from pertorch.cli._question import label_that_reads
from pertorch.cli._table import format_table
from pertorch.data import DEFAULT_EMBEDDING, Groups
from pertorch.pl import power_curve
from pertorch.tl import DistanceTest, Mixscape, distance_power, mixscape_power

if TYPE_CHECKING:
    from anndata import AnnData


def run(args: Namespace) -> None:
    """Draw screens from the pilot, test them, print, write. What is wrong is found before the work."""
    console = Console(args.quiet)
    check_output(args.out, (".csv",))
    check_output(args.plot, (".png", ".pdf", ".svg"), option="--plot")
    if not 0 < args.wanted < 1:
        raise CliError(f"--wanted {args.wanted} must lie between 0 and 1, such as 0.8.")
    with computing_on(args.device), opened(args.file) as pilot:
        control = label_that_reads(Groups.from_obs(pilot, args.groupby), args.control)
        how = {"n_replicates": args.replicates, "random_state": args.seed}
        if args.test == "distance":
            test = DistanceTest(args.metric, n_perms=args.permutations, padj_threshold=args.alpha)
            table = distance_power(
                _embedded(pilot, args, console), args.groupby, control, args.cells, test=test,
                n_controls=args.controls, n_targets=args.targets, **how,
            )  # fmt: skip
        else:
            if args.controls or args.targets:
                raise CliError("--controls and --targets are of --test distance: Mixscape takes all, one by one.")
            work = _expressed(pilot, args, console)
            Mixscape.perturbation_signature(work, args.groupby, control, materialize=False)
            table = mixscape_power(work, args.groupby, control, args.cells, **how)
    console.note(f"power of {args.test}: {args.replicates} screens drawn for each number of cells per target")
    print(format_table(by_target(table, args.wanted), args.top))
    if args.out:
        write(args.out, lambda path: table.to_csv(path, index=False))
    if args.plot:
        figure = power_curve(table, wanted=args.wanted, return_fig=True)
        write(args.plot, lambda path: figure.savefig(path, dpi=150))  # type: ignore[union-attr]


def by_target(table: pd.DataFrame, wanted: float) -> pd.DataFrame:
    """Each target: cells in the pilot, power at each size, and the size from which it is as wanted; easiest first."""
    sizes = sorted(table["n_cells"].unique())
    wide = table.pivot(index="target", columns="n_cells", values="power")[sizes]
    reaches = np.where((wide >= wanted).to_numpy(), sizes, np.inf).min(1)
    last = wide.notna().to_numpy() @ np.ones(len(sizes), dtype=int) - 1  # the largest size that was drawn
    needed = [f"{r:.0f}" if np.isfinite(r) else f"> {sizes[k]}" for r, k in zip(reaches, last, strict=True)]
    pilot = table.drop_duplicates("target").set_index("target")["pilot_cells"]
    out = wide.rename(columns=str).assign(needed=needed)
    out.insert(0, "pilot", pilot.reindex(wide.index))
    order = np.lexsort([-wide.mean(axis=1), reaches])
    return out.iloc[order].rename(columns={"needed": f"cells for {wanted:g}"}).reset_index()


def _embedded(pilot: AnnData, args: Namespace, console: Console) -> AnnData:
    """Labels, and the embedding of the file, or one made from its expression."""
    from anndata import AnnData

    key = args.obsm or next((key for key in DEFAULT_EMBEDDING if key in pilot.obsm and args.n_pcs is None), None)
    if key is not None and key in pilot.obsm:
        console.note(f"distances in {key}")
        return AnnData(obs=pilot.obs, obsm={"X_pca": pilot.obsm[key]})
    return _expressed(pilot, args, console)


def _expressed(pilot: AnnData, args: Namespace, console: Console) -> AnnData:
    how = {"layer": args.counts, "total_counts": args.total_counts, "exclude": args.exclude_genes or []}
    return prepare(pilot, **how, obsm=args.obsm, n_pcs=args.n_pcs, note=console.note).work
