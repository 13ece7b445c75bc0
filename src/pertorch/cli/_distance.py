"""``pertorch distance``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._embedding import N_PCS, embed
from pertorch.cli._formats import in_memory
from pertorch.cli._io import check_output, h5ad_writer, opened, write
from pertorch.cli._question import Question
from pertorch.cli._table import format_table
from pertorch.data import DEFAULT_EMBEDDING
from pertorch.metrics import get_metric
from pertorch.tl import Distance

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

RESULT = "pertorch_distance"  # key in uns of the annotated file


def run(args: Namespace) -> None:
    """Measure, print, write. What is wrong with the request is found before the work."""
    console = Console(args.quiet)
    check_output(args.out, (".csv", ".h5ad"))
    options = {"estimator": args.estimator} if args.estimator else {}
    get_metric(args.metric, **options)
    with computing_on(args.device), opened(args.file) as adata:
        question = Question.ask(adata, args.groupby, args.control, args.split_by or [])
        key, made = _embedding(adata, args, console)
        table = question.answer(
            Distance(args.metric, args.layer, key, **options),
            _with(adata, made),
            bootstrap=args.bootstrap,
            seed=args.seed,
            progress=console.progress,
        )
        console.note(f"{args.metric} on {args.layer or key}: {len(table):,} distances")
        print(format_table(_readable(table), args.top))
        if args.out:
            _write(args, adata, made, table)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """As printed: without the column that is the same everywhere."""
    return table.drop(columns="reference", errors="ignore").rename(columns={"sd": "± sd"})


def _embedding(adata: AnnData, args: Namespace, console: Console) -> tuple[str | None, dict[str, NDArray[Any]]]:
    """Key in ``obsm`` to measure on (None for a layer), and the embedding under that key if it has to be made."""
    asked = [
        f"--{name.replace('_', '-')}"
        for name in ("counts", "total_counts", "exclude_genes", "n_pcs")
        if getattr(args, name) is not None
    ]
    if args.obsm or args.layer:
        if asked:
            given = "--obsm" if args.obsm else "--layer"
            raise CliError(f"{asked[0]} asks for a new embedding, {given} for measuring on what is there: give one.")
        return args.obsm, {}
    there = next((key for key in DEFAULT_EMBEDDING if key in adata.obsm), None)
    if there and not asked:
        return there, {}
    scores = embed(
        adata,
        layer=args.counts,
        total_counts=args.total_counts,
        exclude=args.exclude_genes or [],
        n_pcs=args.n_pcs or N_PCS,
        note=console.note,
    )
    key = "X_pca_pertorch" if there else "X_pca"
    return key, {key: scores}


def _with(adata: AnnData, made: dict[str, NDArray[Any]]) -> AnnData:
    """The data with the embedding that was made, the caller's untouched."""
    from anndata import AnnData

    return AnnData(obs=adata.obs, obsm=made) if made else adata


def _write(args: Namespace, adata: AnnData, made: dict[str, NDArray[Any]], table: pd.DataFrame) -> None:
    if Path(args.out).suffix == ".csv":
        write(args.out, lambda path: table.to_csv(path, index=False))
        return
    full = in_memory(adata, args.file)
    full.obsm.update(made)
    asked = {name: value for name, value in vars(args).items() if value is not None and name != "run"}
    full.uns[RESULT] = {"table": table, "arguments": asked}
    write(args.out, h5ad_writer(full))
