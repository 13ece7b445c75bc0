"""Figures of matplotlib as SVG that takes the colours of the page around it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 3_000  # beyond so many, dots are smaller as an image than as shapes
DPI = 150
# What is not drawn: declarations, comments, metadata with its links, a style that would hold for the whole page.
NOT_DRAWN = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
NAMESPACE = re.compile(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"')
INK = re.compile(r"#(?:000000|333333)\b")
PAPER = re.compile(r"#ffffff\b", re.IGNORECASE)
NAME = re.compile(r'\bid="|href="#|url\(#')
SIZE = re.compile(r'<svg([^>]*?)width="([\d.]+)pt" height="([\d.]+)pt"')
PIXELS_PER_POINT = 4 / 3


def as_svg(figure: Figure, name: str) -> str:
    """Draw a figure.

    Parameters
    ----------
    figure
        One of no backend, such as the functions of :mod:`pertorch.pl` return with ``return_fig``.
    name
        Of this figure, a word: names within the drawing begin with it, so that those of two do not meet on a page.

    Returns
    -------
    An ``<svg>`` element. Black and the dark grey of the plots became ``currentColor``, white ``var(--paper)``.
    """
    import matplotlib as mpl

    for axes in figure.axes:
        for dots in axes.collections:
            if len(dots.get_offsets()) > DOTS:  # type: ignore[arg-type]
                dots.set_rasterized(True)
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, dpi=DPI, metadata={"Date": None})
    text = NAMESPACE.sub("", NOT_DRAWN.sub("", out.getvalue()))
    text = PAPER.sub("var(--paper)", INK.sub("currentColor", text))
    text = NAME.sub(lambda found: f"{found[0]}{name}-", text)
    return SIZE.sub(_pixels, text, count=1).strip()


def _pixels(found: re.Match[str]) -> str:
    width, height = (round(PIXELS_PER_POINT * float(found[k])) for k in (2, 3))
    return f'<svg{found[1]}style="--width: {width}px" width="{width}" height="{height}"'
