"""One label per cell from the guides assigned to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def one_guide(guide: NDArray[np.int64], guides: pd.Index, none: str) -> pd.Categorical:
    """Label cells by their one guide.

    Parameters
    ----------
    guide
        Guide of each cell, −1 for none.
    guides
        Names; those that repeat share a label.
    none
        Label for −1.

    Returns
    -------
    Categories: the guides that occur, in var order, then `none` if it occurs.
    """
    code, names = pd.factorize(guides)
    codes = np.where(guide >= 0, code[guide], len(names))
    return used_categories(codes, [*names.astype(str), none])


def used_categories(codes: NDArray[np.int64], names: list[str]) -> pd.Categorical:
    """A categorical whose categories are the names that occur, in the order given."""
    occurs = np.bincount(codes, minlength=len(names)) > 0
    new_code = np.cumsum(occurs) - 1
    return pd.Categorical.from_codes(new_code[codes], [name for name, seen in zip(names, occurs, strict=True) if seen])
