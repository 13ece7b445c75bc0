"""What a command says on its way."""

from __future__ import annotations

import sys
from dataclasses import dataclass


class CliError(Exception):
    """What is wrong with the input, in one plain sentence that says what to do."""


@dataclass(frozen=True)
class Console:
    """Notes and progress go to stderr, results to stdout."""

    quiet: bool = False

    def note(self, text: str) -> None:
        """Say what was done, unless quiet."""
        if not self.quiet:
            print(text, file=sys.stderr)

    @property
    def progress(self) -> bool:
        """Whether to show progress bars: only to a person."""
        return not self.quiet and sys.stderr.isatty()
