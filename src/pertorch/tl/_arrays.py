"""Groups of cells that are given as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data import Cells, Groups, Matrix, Pairs, as_matrix


def scaled(fitted: Sequence[Any], *arrays: Any) -> list[Any]:
    """Arrays scaled per feature by the range of the fitted ones; a feature without range is only shifted."""
    from sklearn.preprocessing import MinMaxScaler

    def dense(values: Any) -> NDArray[Any]:
        matrix = as_matrix(values, "array")
        return matrix.rows(torch.arange(matrix.shape[0])).double().numpy()

    scaler = MinMaxScaler().fit(np.concatenate([dense(values) for values in fitted]))
    return [scaler.transform(dense(values)) for values in arrays]


def two_groups(X: Any, Y: Any) -> tuple[Cells, Pairs]:
    """X and Y as groups, and the pair of them."""
    x, y = as_matrix(X, "X"), as_matrix(Y, "Y")
    if not x.shape[0] or not y.shape[0]:
        raise ValueError(f"X has {x.shape[0]} cells and Y has {y.shape[0]}: neither can be empty.")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"X has {x.shape[1]} features and Y has {y.shape[1]}: pass the same features for both.")
    groups = Groups(("X", "Y"), np.repeat(np.arange(2), [x.shape[0], y.shape[0]]))
    return Cells(Matrix.stack(x, y), groups), Pairs(torch.tensor([0]), torch.tensor([1]))
