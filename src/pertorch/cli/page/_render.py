"""A page as HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pertorch.cli._table import decimals
from pertorch.cli.page._model import Column, Page, Section, Table

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDER = Path(__file__).parent
BOLD, CODE = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"`(.+?)`")
MISSING = "–"
DIGITS = 4  # of the largest number in a column


@dataclass(frozen=True)
class Cell:
    """A value as written, and as sorted: a number, or None for what sorts as text, or is missing."""

    text: str
    value: str | None


def render(page: Page) -> str:
    """Return the page as one HTML document with its style, script and figures in it.

    All text is escaped, whatever the data's names hold.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"marked_up": marked_up, "anchor": anchor, "rows": rows}
    sections = [section for section in page.sections if not _is_empty(section)]
    notices = [(anchor(section.title), notice) for section in sections for notice in section.notices]
    return environment.get_template("page.html.jinja").render(page=page, sections=sections, notices=notices)


def marked_up(text: str) -> Markup:
    """Escape a text, then make what stands between ``**`` bold, and between backticks code."""
    from markupsafe import Markup, escape

    safe = str(escape(text))
    return Markup(CODE.sub(r"<code>\1</code>", BOLD.sub(r"<strong>\1</strong>", safe)))


def anchor(title: str) -> str:
    """What a link to this heading ends in."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def rows(table: Table) -> list[list[tuple[Column, Cell]]]:
    """The cells that the page shows."""
    shown = table.frame.head(table.most)
    columns = [[(column, cell) for cell in _cells(shown[column.key], column)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(values: pd.Series, column: Column) -> list[Cell]:
    if column.kind == "text":
        return [Cell(MISSING, None) if _missing(value) else Cell(str(value), None) for value in values]
    if column.kind == "flag":
        return [Cell("yes" if value else "", str(int(bool(value)))) for value in values]
    n = decimals(values, DIGITS) if column.kind == "number" and values.dtype.kind == "f" else 0
    return [Cell(MISSING, None) if _missing(v) else Cell(_written(v, column, n), repr(_plain(v))) for v in values]


def _written(value: Any, column: Column, n: int) -> str:
    if column.kind == "percent":
        return f"{100 * value:.1f} %"
    if column.kind == "p":
        return f"{value:.2g}"
    return f"{value:,.{n}f}".replace("-", "−")


def _plain(value: Any) -> Any:
    """A number of Python's own, whose repr reads back to the same."""
    return value.item() if hasattr(value, "item") else value


def _missing(value: Any) -> bool:
    return bool(pd.isna(value)) or value == ""


def _is_empty(section: Section) -> bool:
    return not (section.prose or section.tables or section.figures or section.notices)
