"""What the library says on its way, for whom asks to hear it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


@contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Print warnings of the log, with `verbose` 1 also what it is told of progress, with 2 all of it."""
    log, handler = logging.getLogger("pertorch"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("pertorch: %(message)s"))
    before = log.level
    log.setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
