"""One label per cell from the guides assigned to it."""

from __future__ import annotations

from functools import reduce
from operator import add
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
    return _categorical(np.where(guide >= 0, guide, len(guides)), np.array([*guides.astype(str), none], dtype=object))


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
    single = np.asarray(guides.astype(str), dtype=object)
    ahead = single + wording.joint
    names, n_names = [single], len(single)
    first, per_cell = assigned.indptr[:-1], np.diff(assigned.indptr)
    codes = np.empty(len(per_cell), dtype=np.int64)
    cells = np.flatnonzero(per_cell == 1)
    codes[cells] = assigned.indices[first[cells]]
    for size in range(2, min(wording.most, int(per_cell.max(initial=0))) + 1):
        cells = np.flatnonzero(per_cell == size)
        sets, which = _distinct(assigned.indices[first[cells][:, None] + np.arange(size)], len(single))
        codes[cells] = n_names + which
        *others, last = sets.T
        names.append(reduce(add, (ahead[guide] for guide in others)) + single[last])
        n_names += len(sets)
    codes[per_cell == 0] = n_names
    codes[per_cell > wording.most] = n_names + 1
    return _categorical(codes, np.concatenate([*names, np.array([wording.none, wording.many], dtype=object)]))


def _distinct(sets: NDArray[np.int32], n_guides: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The distinct rows, in lexicographic order, and which of them each row is."""
    which = np.zeros(len(sets), dtype=np.int64)
    where = np.zeros(min(len(sets), 1), dtype=np.int64)
    n_keys = 1  # keys are below it; several columns go into one while they fit
    for i, column in enumerate(sets.T):
        which, n_keys = which * n_guides + column, n_keys * n_guides
        if i == sets.shape[1] - 1 or n_keys > 2**62 // n_guides:
            _, where, which = np.unique(which, return_index=True, return_inverse=True)
            n_keys = len(where)
    return sets[where], which


def _categorical(codes: NDArray[np.int64], names: NDArray[np.object_]) -> pd.Categorical:
    """A categorical of the names that occur, in the order given; names that repeat are one category."""
    occurs = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    categories = pd.Index(names[occurs])
    new_code = np.full(len(names), -1, dtype=np.int32)
    new_code[occurs] = np.arange(len(occurs))
    if not categories.is_unique:
        new_code[occurs], categories = pd.factorize(categories)
    return pd.Categorical.from_codes(new_code[codes], categories)
