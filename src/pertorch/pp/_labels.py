"""One label per cell from the guides assigned to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray


class Wording(NamedTuple):
    """How cells are labelled that have no guide, several, or too many.

    Attributes
    ----------
    none
        Label of a cell without a guide.
    joint
        What stands between the names of several guides.
    many
        Label of a cell with more guides than `most`.
    most
        Guides that a label may name.
    """

    none: str
    joint: str
    many: str
    most: int


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
    return _categorical(np.where(guide >= 0, guide, len(guides)), [*guides.astype(str), none])


def all_guides(assigned: sp.csr_array, guides: pd.Index, wording: Wording) -> pd.Categorical:
    """Label cells by all their guides, joined in var order.

    Names are joined once for each set of guides that occurs, not for each cell.

    Parameters
    ----------
    assigned
        Cells × guides: one where assigned, zeros not stored, indices sorted.
    guides
        Names.
    wording
        Labels of cells without, with several and with too many guides.

    Returns
    -------
    Categories that occur: guides in var order, sets of guides by size and then in var order, `none`, `many`.
    """
    names = [*guides.astype(str)]
    first, per_cell = assigned.indptr[:-1], np.diff(assigned.indptr)
    codes = np.zeros(len(per_cell), dtype=np.int64)
    codes[per_cell == 1] = assigned.indices[first[per_cell == 1]]
    for size in range(2, min(wording.most, int(per_cell.max(initial=0))) + 1):
        cells = np.flatnonzero(per_cell == size)
        sets, which = _distinct(assigned.indices[first[cells][:, None] + np.arange(size)], len(guides))
        codes[cells] = len(names) + which
        names += [wording.joint.join(names[guide] for guide in members) for members in sets.tolist()]
    codes[per_cell == 0] = len(names)
    codes[per_cell > wording.most] = len(names) + 1
    return _categorical(codes, [*names, wording.none, wording.many])


def _distinct(sets: NDArray[np.int32], n_guides: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The distinct rows, in lexicographic order, and which of them each row is."""
    which = np.zeros(len(sets), dtype=np.int64)
    where = np.zeros(min(len(sets), 1), dtype=np.int64)
    for column in sets.T:
        _, where, which = np.unique(which * n_guides + column, return_index=True, return_inverse=True)
    return sets[where], which


def _categorical(codes: NDArray[np.int64], names: list[str]) -> pd.Categorical:
    """A categorical of the names that occur, in the order given; names that repeat are one category."""
    occurs = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    category, categories = pd.factorize(np.array([names[code] for code in occurs], dtype=object))
    new_code = np.full(len(names), -1)
    new_code[occurs] = category
    return pd.Categorical.from_codes(new_code[codes], categories)
