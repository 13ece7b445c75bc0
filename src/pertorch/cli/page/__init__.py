"""Pages: text, tables that sort, figures, in one HTML file that asks nothing of the network. Knows no biology."""

from pertorch.cli.page._model import Column, Fact, Figure, Page, Section, Table
from pertorch.cli.page._render import render
from pertorch.cli.page._svg import as_svg

__all__ = ["Column", "Fact", "Figure", "Page", "Section", "Table", "as_svg", "render"]
