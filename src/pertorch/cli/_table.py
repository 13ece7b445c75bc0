"""Tables on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 5  # of the largest number in a column; the others get as many decimals


def format_table(table: pd.DataFrame, top: int | None = None) -> str:
    """Aligned text: one line a row, words to the left, numbers to the right, columns two blanks apart.

    Parameters
    ----------
    table
        The rows, in the order to print. Floats get as many decimals as their column's largest needs.
    top
        How many rows to print; a last line says how many were left out.

    Examples
    --------
    >>> import pandas as pd
    >>> print(format_table(pd.DataFrame({"gene": ["STAT1", "JAK2"], "cells": [812, 9], "d": [1.186677, 0.01]})))
    gene   cells       d
    STAT1    812  1.1867
    JAK2       9  0.0100
    """
    shown = table if top is None else table.head(top)
    columns = [_cells(str(name), shown[name]) for name in shown.columns]
    lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    if len(shown) < len(table):
        lines.append(f"… {len(table) - len(shown):,} more rows")
    return "\n".join(lines)


def _cells(name: str, column: pd.Series) -> list[str]:
    """Header and values of one column, padded to one width."""
    number = column.dtype.kind in "iuf"
    if column.dtype.kind == "f":
        places = decimals(column)
        texts = [name, *(f"{value:.{places}f}" for value in column)]
    else:
        texts = [name, *(f"{value:,}" if number else str(value) for value in column)]
    width = max(map(len, texts))
    return [text.rjust(width) if number else text.ljust(width) for text in texts]


def decimals(column: pd.Series, digits: int = DIGITS) -> int:
    """Decimals of a column: as many as the largest number needs for `digits`, or fewer where fewer tell all."""
    finite = column[column.abs() < math.inf]
    largest = finite.abs().max() if len(finite) else 0.0
    most = min(max(digits - 1 - math.floor(math.log10(largest)), 0), 8) if largest > 0 else 0
    return next((d for d in range(most) if (finite.round(d) == finite).all()), most)
