"""What a page holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "number", "percent", "p", "flag"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key
        Its name in the frame.
    title
        Its name on the page.
    meaning
        What it is, with unit: in the list below the table. Empty for what needs no words.
    kind
        How values are written: ``"number"`` with as many decimals as the column needs, ``"percent"`` of a share,
        ``"p"`` with two digits, ``"flag"`` as yes or blank. What is missing is a dash.
    """

    key: str
    title: str
    meaning: str = ""
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows in the order to show; readers sort them by any column.

    Attributes
    ----------
    caption
        One sentence.
    frame
        The numbers.
    columns
        Which of them are shown. The first names its row.
    file
        Where all of them are, relative to the page.
    most
        Rows that the page shows; the others are in the file.
    """

    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    file: str | None = None
    most: int = 1_000


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes
    ----------
    svg
        As :func:`as_svg` makes it.
    caption
        What it shows, and how to read it.
    alt
        The same for those who do not see it.
    """

    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A part of a page. In its texts what stands between ``**`` is bold, between backticks code; no more is markup.

    Attributes
    ----------
    title
        Heading.
    prose
        Paragraphs.
    tables, figures
        What follows them.
    notices
        What a reader has to know before trusting this part; the page repeats them on top.
    """

    title: str
    prose: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """A number that stands large on top of a page, and what it counts."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    title
        Heading, and title of the window.
    subtitle
        One line below it.
    summary
        Paragraphs, marked up as those of a :class:`Section`.
    facts
        Numbers in large.
    next_steps
        What to look at next, one sentence each.
    sections
        The parts, in order.
    """

    title: str
    subtitle: str
    summary: tuple[str, ...]
    facts: tuple[Fact, ...]
    next_steps: tuple[str, ...]
    sections: tuple[Section, ...]
