"""Figures, where they can be drawn and are wanted."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from pertorch.cli.page import Figure, as_svg

WITHOUT = "Figures were left out, since matplotlib is not installed: `pip install 'pertorch[plots]'`."


class Drawing:
    """Draws figures one after another, or none.

    Parameters
    ----------
    wanted
        Whether to draw at all.
    """

    def __init__(self, wanted: bool = True) -> None:
        self.able = find_spec("matplotlib") is not None
        self._on, self._drawn = wanted and self.able, 0
        self.notices = (WITHOUT,) if wanted and not self.able else ()

    def __call__(self, draw: Callable[[], Any], caption: str, alt: str) -> tuple[Figure, ...]:
        """One figure in a tuple, or an empty one; `draw` makes it as :mod:`pertorch.pl` does with ``return_fig``."""
        if not self._on:
            return ()
        self._drawn += 1
        return (Figure(as_svg(draw(), f"figure{self._drawn}"), caption, alt),)
