from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pertorch.cli._table import format_table


def lines(top: int | None = None, **columns: object) -> list[str]:
    return format_table(pd.DataFrame(columns), top).splitlines()


def test_words_left_numbers_right() -> None:
    assert lines(gene=["STAT1", "X"], cells=[1341, 9]) == ["gene   cells", "STAT1  1,341", "X          9"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.186677, 0.0012], ["1.1867", "0.0012"]),
        ([250.123456, 1.0], ["250.12", "  1.00"]),
        ([0.00012345, 0.0], ["0.00012345", "0.00000000"]),
        ([-1.5, 0.25], ["-1.50", " 0.25"]),
        ([3.0, 2.0], ["3", "2"]),
        ([1e7 + 0.5, 1.0], ["10000000", "       1"]),
        ([np.nan, 1.5], ["nan", "1.5"]),
        ([np.inf, 1.5], ["inf", "1.5"]),
        ([0.0, 0.0], ["0", "0"]),
    ],
)
def test_decimals(values: list[float], texts: list[str]) -> None:
    width = max(len(text) for text in texts)
    assert lines(d=values) == ["d".rjust(width), *(text.rjust(width) for text in texts)]


def test_top() -> None:
    assert lines(top=1, gene=["A", "B", "C"]) == ["gene", "A", "… 2 more rows"]
    assert lines(top=3, gene=["A", "B", "C"]) == ["gene", "A", "B", "C"]
