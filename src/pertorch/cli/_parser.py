"""Commands and their options. Imports nothing heavy, so that help comes at once."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from pertorch import __version__
from pertorch.cli._console import CliError

Run = Callable[[Namespace], None]

GUIDE_METHODS = (
    "max", "threshold", "mixture", "maximum", "umi", "poisson_gauss", "ratio", "quantiles", "2beta", "3beta", "gauss",
    "poisson", "negative_binomial", "binomial",
)  # fmt: skip


class _Parser(ArgumentParser):
    """A parser whose errors are one sentence, raised."""

    def error(self, message: str) -> NoReturn:
        raise CliError(f"{message[0].lower()}{message[1:]}: see `{self.prog} --help`.")


def make_parser() -> ArgumentParser:
    """Return the parser of ``pertorch``. What it parses has an attribute ``run``: the command, to be called with it."""
    parser = _Parser(prog="pertorch", description="Perturbation analysis for single-cell screens.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pertorch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for add in (_report, _distance, _guides, _mixscape, _power, _simulate, _demo):
        add(commands)
    return parser


def _report(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "report",
        allow_abbrev=False,
        help="the main job in one command: a page that says which perturbations do what",
        description="Guide calls, normalisation, distances with intervals and tests, Mixscape and Mixscale, written "
        "to a directory: report.html, annotated.h5ad, and a CSV for each table.",
    )
    p.add_argument("file", help="h5ad or h5mu file, these as zarr, or filtered_feature_bc_matrix.h5 of Cell Ranger")
    p.add_argument(
        "--groupby",
        required=True,
        metavar="COLUMN",
        help="obs column with the target of each cell; or, where there is none, the var column with that of each "
        "guide: cells get that of the guides called in them",
    )
    p.add_argument("--control", required=True, metavar="LABEL", help="label of the control cells")
    p.add_argument("-o", "--out", required=True, metavar="FOLDER", help="where to write; made if need be")
    p.add_argument("--split-by", metavar="COLUMN", help="compare within each level, such as the replicate")
    p.add_argument("--title", metavar="TEXT", help="of the page (default: name of the file)")
    guides = p.add_argument_group("guides")
    guides.add_argument("--guides", metavar="FILE", help="file with raw guide counts of the same cells")
    guides.add_argument(
        "--guide-method", choices=GUIDE_METHODS, default="mixture", metavar="NAME",
        help="as --method of `pertorch guides` (default: %(default)s)",
    )  # fmt: skip
    guides.add_argument("--no-guides", dest="use_guides", action="store_false", help="leave guide counts alone")
    distances = p.add_argument_group("distances")
    distances.add_argument(
        "--obsm", metavar="KEY", help="measure in this embedding (default: X_pca where there is one)"
    )
    distances.add_argument(
        "--bootstrap", type=_count, default=200, metavar="N", help="resamplings of the cells (default: %(default)s)"
    )
    distances.add_argument(
        "--permutations", type=_count, metavar="N",
        help="of each test (default: 1,000, or as many as the number of targets needs)",
    )  # fmt: skip
    distances.add_argument(
        "--fdr", type=float, default=0.05, metavar="X", help="false discovery rate (default: %(default)s)"
    )
    _expression(p.add_argument_group("an embedding made from counts (each of these asks for one)"))
    cells = p.add_argument_group("perturbed cells")
    cells.add_argument("--no-mixscape", dest="mixscape", action="store_false", help="without Mixscape and Mixscale")
    cells.add_argument("--no-mixscale", dest="mixscale", action="store_false", help="without Mixscale")
    cells.add_argument("--type", default="KO", help="name of the perturbed class (default: %(default)s)")
    cells.add_argument(
        "--neighbors", type=_count, default=20, metavar="N", help="nearest controls (default: %(default)s)"
    )
    p.add_argument("--no-figures", dest="figures", action="store_false", help="tables and text alone")
    p.add_argument("--open", action="store_true", help="open the page in the browser")
    _seed(p, "of resampling ")
    _quiet(p)
    _device(p)
    p.set_defaults(run=_lazy("_report"))


def _distance(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "distance",
        allow_abbrev=False,
        help="distances of perturbations to a control, or of all pairs",
        description="Distances between groups of cells. Without an embedding in the file, one is made from raw "
        "counts: 10,000 counts per cell, log1p, principal components.",
    )
    p.add_argument("file", help="h5ad file or zarr")
    p.add_argument("--groupby", required=True, metavar="COLUMN", help="obs column with the label of each cell")
    against = p.add_mutually_exclusive_group(required=True)
    against.add_argument("--control", metavar="LABEL", help="distances to this group")
    against.add_argument("--pairwise", action="store_true", help="distances between all pairs of groups")
    p.add_argument("--split-by", action="append", metavar="COLUMN", help="compare within each level; repeatable")
    p.add_argument("--metric", default="edistance", help="name of the metric (default: %(default)s)")
    p.add_argument("--estimator", choices=["u", "v"], help="of the E-distance: unbiased (default), or as pertpy")
    p.add_argument("--bootstrap", type=_count, metavar="N", help="add mean and sd over N resamplings of the cells")
    on = p.add_mutually_exclusive_group()
    on.add_argument("--obsm", metavar="KEY", help="measure in this embedding (default: X_pca where the file has it)")
    on.add_argument("--layer", metavar="KEY", help="measure on this layer as it is, X for adata.X")
    _expression(p.add_argument_group("an embedding made from counts (each of these asks for one)"))
    p.add_argument("--top", type=_count, default=50, metavar="N", help="rows to print (default: %(default)s)")
    _seed(p, "of the bootstrap ")
    _output(p, "table.csv, or annotated.h5ad: the data with the table and the embedding")
    _device(p)
    p.set_defaults(run=_lazy("_distance"))


def _guides(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "guides",
        allow_abbrev=False,
        help="which guide each cell carries",
        description="Assign guides to cells from raw guide counts.",
    )
    p.add_argument("file", help="h5ad file or zarr, cells × guides")
    p.add_argument(
        "--method",
        choices=GUIDE_METHODS,
        default="max",
        metavar="NAME",
        help="max: the largest guide; threshold: every guide with enough counts; mixture: a Poisson-Gaussian mixture "
        f"per guide; or another that crispat compares: {', '.join(GUIDE_METHODS[3:])} (default: %(default)s)",
    )
    p.add_argument("--threshold", type=float, metavar="N", help="least count, for max and threshold (default: 5)")
    p.add_argument(
        "--set",
        type=_setting,
        action="append",
        metavar="OPTION=NUMBER",
        help="an option of the method, such as ratio=0.6",
    )
    p.add_argument("--batch-key", metavar="COLUMN", help="obs column of batches, for methods that fit each or adjust")
    p.add_argument("--layer", metavar="KEY", help="layer with the raw counts (default: X)")
    p.add_argument("--top", type=_count, default=50, metavar="N", help="guides to print (default: %(default)s)")
    _output(p, "calls.csv, or annotated.h5ad")
    _device(p)
    p.set_defaults(run=_lazy("_guides"))


def _mixscape(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "mixscape",
        allow_abbrev=False,
        help="which cells were perturbed",
        description="Perturbation signature and Mixscape classes. Raw counts are normalised first: 10,000 counts per "
        "cell, log1p.",
    )
    p.add_argument("file", help="h5ad file or zarr")
    p.add_argument("--groupby", required=True, metavar="COLUMN", help="obs column with the target of each cell")
    p.add_argument("--control", required=True, metavar="LABEL", help="label of the control cells")
    p.add_argument("--split-by", metavar="COLUMN", help="compare within each level, such as the replicate")
    p.add_argument("--mixscale", action="store_true", help="add a continuous score of each cell")
    p.add_argument("--type", default="KO", help="name of the perturbed class (default: %(default)s)")
    p.add_argument("--neighbors", type=_count, default=20, metavar="N", help="nearest controls (default: %(default)s)")
    p.add_argument("--obsm", metavar="KEY", help="where cells are near (default: X_pca where the file has it)")
    _expression(p)
    of = p.add_argument_group("markers of a target")
    of.add_argument("--min-markers", type=_count, default=5, metavar="N", help="fewest (default: %(default)s)")
    of.add_argument(
        "--logfc", type=float, default=0.25, metavar="X", help="least log2 fold change (default: %(default)s)"
    )
    of.add_argument("--pval", type=float, default=0.05, metavar="P", help="largest adjusted p (default: %(default)s)")
    of.add_argument("--markers", metavar="PATH", help="markers.csv: where to write them")
    p.add_argument("--top", type=_count, default=50, metavar="N", help="targets to print (default: %(default)s)")
    _output(p, "calls.csv, or annotated.h5ad")
    _device(p)
    p.set_defaults(run=_lazy("_mixscape"))


def _power(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "power",
        allow_abbrev=False,
        help="how many cells per target a screen needs",
        description="Draws screens of fewer cells from a pilot, tests each, and says how often each target is found.",
    )
    p.add_argument("file", help="h5ad file or zarr: the pilot, or a simulated screen")
    p.add_argument("--groupby", required=True, metavar="COLUMN", help="obs column with the target of each cell")
    p.add_argument("--control", required=True, metavar="LABEL", help="label of the control cells")
    p.add_argument("--cells", type=_counts, default=[25, 50, 100, 200], metavar="N,N", help="(default: 25,50,100,200)")
    p.add_argument("--test", choices=["distance", "mixscape"], default="distance", help="(default: %(default)s)")
    p.add_argument("--replicates", type=_count, default=100, metavar="N", help="screens drawn (default: %(default)s)")
    p.add_argument("--wanted", type=float, default=0.8, metavar="X", help="probability to reach (default: %(default)s)")
    of = p.add_argument_group("of --test distance")
    of.add_argument("--metric", default="edistance", help="name of the metric (default: %(default)s)")
    of.add_argument("--permutations", type=_count, default=1000, metavar="N", help="(default: %(default)s)")
    of.add_argument("--alpha", type=float, default=0.05, metavar="P", help="of adjusted p (default: %(default)s)")
    of.add_argument("--controls", type=_count, metavar="N", help="control cells of the screen (default: the pilot's)")
    of.add_argument("--targets", type=_count, metavar="N", help="targets to correct for (default: the pilot's)")
    p.add_argument("--obsm", metavar="KEY", help="embedding to compare in (default: X_pca where the file has it)")
    _expression(p)
    _seed(p, "of the draws ")
    p.add_argument("--top", type=_count, default=50, metavar="N", help="targets to print (default: %(default)s)")
    p.add_argument("--plot", metavar="PATH", help="power.png: curves")
    _output(p, "power.csv: a row per target and number of cells")
    _device(p)
    p.set_defaults(run=_lazy("_power"))


def _simulate(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "simulate",
        allow_abbrev=False,
        help="write a screen with a known truth",
        description="Write a simulated screen: OUT.h5ad with genes and OUT.guides.h5ad with guides, the truth in both.",
    )
    p.add_argument("out", metavar="OUT.h5ad")
    p.add_argument("--cells", type=_count, default=5_000, metavar="N", help="(default: %(default)s)")
    p.add_argument("--genes", type=_count, default=1_000, metavar="N", help="(default: %(default)s)")
    p.add_argument("--targets", type=_count, default=30, metavar="N", help="(default: %(default)s)")
    _seed(p, "")
    _quiet(p)
    p.set_defaults(run=_lazy("_simulate"))


def _demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="the main job on a simulated screen: what was planted beside what was found",
        description="Simulate a screen, run the main job on it, and print what was planted beside what was found; with "
        "--out, end in its report.",
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    p.add_argument("--open", action="store_true", help="open the report in the browser")
    _output(p, "directory for the screen, the tables and the report")
    _device(p)
    p.set_defaults(run=_lazy("_demo"))


def _expression(p: argparse._ActionsContainer) -> None:
    p.add_argument("--counts", metavar="KEY", help="layer with the raw counts (default: X)")
    p.add_argument("--total-counts", metavar="COLUMN", help="obs column with each cell's total (default: summed)")
    p.add_argument("--exclude-genes", action="append", metavar="GLOB", help="leave out, such as 'MT-*'; repeatable")
    p.add_argument("--n-pcs", type=_count, metavar="N", help="principal components (default: 50)")


def _output(p: ArgumentParser, what: str) -> None:
    p.add_argument("-o", "--out", metavar="PATH", help=what)
    _quiet(p)


def _device(p: ArgumentParser) -> None:
    p.add_argument("--device", help="auto, cpu, cuda or cuda:0,2 (default: PERTORCH_DEVICE, else auto)")


def _seed(p: ArgumentParser, of: str) -> None:
    p.add_argument("--seed", type=int, metavar="N", help=f"{of}(default: PERTORCH_SEED, else 0)")


def _quiet(p: ArgumentParser) -> None:
    p.add_argument("--quiet", action="store_true", help="no notes and no progress bars")
    p.add_argument("-v", "--verbose", action="count", default=0, help="what takes how long; -vv: details")


def _lazy(module: str) -> Run:
    return lambda args: import_module(f"pertorch.cli.{module}").run(args)


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not OPTION=NUMBER") from None
    return name, int(number) if value.lstrip("+-").isdecimal() else number


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
