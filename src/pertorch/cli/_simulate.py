"""``pertorch simulate``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from pertorch.cli._console import Console
from pertorch.cli._io import check_output, h5ad_writer, write
from pertorch.ds import Screen, simulate_screen


def run(args: Namespace) -> None:
    """Simulate and write."""
    check_output(args.out, (".h5ad",))
    screen = simulate_screen(args.cells, args.genes, args.targets, random_state=args.seed)
    write_screen(screen, Path(args.out), Console(args.quiet))


def write_screen(screen: Screen, path: Path, console: Console) -> None:
    """Write genes to `path` and guides beside it."""
    for what, adata, target in (
        ("genes", screen.genes, path),
        ("guides", screen.guides, path.with_suffix(".guides.h5ad")),
    ):
        write(target, h5ad_writer(adata))
        console.note(f"{target}: {adata.n_obs:,} cells × {adata.n_vars:,} {what}")
