"""The command line: ``pertorch --help`` says it all."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence

from pertorch._settings import settings
from pertorch.cli._console import CliError, Console
from pertorch.cli._log import logging_to_stderr
from pertorch.cli._parser import make_parser

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        The words after ``pertorch``; ``None`` takes those of the process.

    Returns
    -------
    Exit code: 0, or 2 after one sentence on stderr that says what is wrong with the input, or 130 when interrupted.
    With ``PERTORCH_DEBUG`` set in the environment, what is wrong is raised with its traceback instead.
    """
    _never_fail_on_a_glyph()
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            args = make_parser().parse_args(argv)
            args.words = shlex.join(sys.argv[1:] if argv is None else argv)
            if vars(args).get("seed", 0) is None:
                args.seed = settings.seed
            shown = not args.quiet and (settings.progress or Console().progress)
            with logging_to_stderr(args.verbose), settings.override(progress=shown):
                args.run(args)
            sys.stdout.flush()
        except (CliError, KeyError, OSError, TypeError, ValueError) as error:
            if os.environ.get("PERTORCH_DEBUG"):
                raise
            if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            print(f"pertorch: {_sentence(error)}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("pertorch: interrupted.", file=sys.stderr)
            return INTERRUPTED
    return 0


def _sentence(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    print(f"pertorch: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _never_fail_on_a_glyph() -> None:
    """A terminal that has no ± shows a question mark: no reason to lose the results."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
