"""``pertorch report``."""

from __future__ import annotations

import textwrap
import webbrowser
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pertorch.cli._console import CliError, Console
from pertorch.cli._device import computing_on
from pertorch.cli._io import check_folder, write_together
from pertorch.cli.report import PAGE, Files, Findings, Options, Record, find, plain_summary, writers

if TYPE_CHECKING:
    from pertorch.cli.page import Section

WIDTH = 100  # of lines on a terminal


def run(args: Namespace) -> None:
    """Read, go through all steps, write, and say what was found."""
    console, options, folder = Console(args.quiet), Options.of(args), check_folder(args.out)
    if not 0 < options.fdr < 1:
        raise CliError(f"--fdr {options.fdr:g} must lie between 0 and 1, such as 0.05.")
    if args.guides and not args.use_guides:
        raise CliError("--guides and --no-guides exclude each other: give one of them.")
    with computing_on(args.device):
        files = Files.read(args.file, args.guides, with_guides=args.use_guides)
        found = find(files, options, console)
        sources = {"file": Path(args.file).name, "guides": args.guides and Path(args.guides).name}
        page = write_report(found, folder, args.title or Path(args.file).name, args.words, sources)
    show(page, announced(found, page), in_browser=args.open)


def write_report(
    found: Findings,
    folder: Path,
    title: str,
    command: str,
    sources: Mapping[str, str | None],
    more: Sequence[Section] = (),
) -> Path:
    """Write the page and the files beside it, all or none.

    Returns
    -------
    Path of the page.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    record = Record(command, dict(sources) | found.study.options.as_dict(), found.steps.seconds, date)
    write_together(folder, writers(found, record, title, more))
    return folder / PAGE


def show(page: Path, text: str, *, in_browser: bool) -> None:
    """Say it, and open the page where that is asked for."""
    print(text, flush=True)
    if in_browser:
        webbrowser.open(page.resolve().as_uri())


def announced(found: Findings, page: Path) -> str:
    """What was found, and where it stands, for a terminal."""
    paragraphs = [textwrap.fill(text, WIDTH, break_long_words=False) for text in plain_summary(found)]
    return "\n\n".join([*paragraphs, f"Report: {page}"])
