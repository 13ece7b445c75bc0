"""Results as the frames that users see: layout and names are decided here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from pertorch.data._groups import Groups
from pertorch.data._pairs import Pairs


def pairwise_frame(groups: Groups, pairs: Pairs, values: Tensor, name: str, *, symmetric: bool) -> pd.DataFrame:
    """Square table, row = X, column = Y, zero diagonal, with ``.name`` set as pertpy does."""
    n_groups = len(groups.names)
    table = values.new_zeros(n_groups, n_groups)
    table[pairs.left, pairs.right] = values
    if symmetric:
        table[pairs.right, pairs.left] = values
    axis = labels(groups.names, groups.column)
    frame = pd.DataFrame(table.cpu().numpy(), index=axis, columns=axis, copy=False)
    object.__setattr__(frame, "name", name)  # an attribute, not a column: what `frame.name = …` would warn about
    return frame


def onesided_frame(
    groups: Groups, targets: Sequence[Any], references: Sequence[Any], values: Tensor, *, single: bool
) -> pd.Series | pd.DataFrame:
    """Series named after the one reference, or a table with a column per reference."""
    index = labels(targets, groups.column)
    table = values.cpu().numpy().reshape(len(index), len(references))
    if single:
        return pd.Series(table[:, 0], index=index, name=references[0])
    return pd.DataFrame(table, index=index, columns=labels(references, "selected_group"))


def labels(names: Sequence[Any], axis: str) -> pd.Index:
    """An index of group names, tuples kept whole."""
    return pd.Index(list(names), name=axis, tupleize_cols=False)
