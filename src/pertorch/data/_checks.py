"""Numbers that nothing can be computed from are refused where they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

EXACT = 2**24  # up to here float32 holds every whole number


def all_finite(values: Tensor) -> bool:
    """Whether none is NaN or infinite."""
    if values.device.type == "cpu":
        return bool(np.isfinite(values.numpy()).all())  # many times sooner than torch where the values are few
    return bool(torch.isfinite(values).all())


def check_finite(values: Tensor, index: Tensor | NDArray[np.int64], name: str) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    values
        Shape ``(n, d)``.
    index
        Shape ``(n,)``: which row of the matrix each of them is of.
    name
        Of the matrix.

    Raises
    ------
    ValueError
        Names the matrix and the first row at fault.
    """
    if not all_finite(values):
        bad = _rows(~torch.isfinite(values), index)
        raise ValueError(
            f"{name} holds NaN or infinity in {len(np.unique(bad))} cell(s), the first at row {bad[0]}: "
            "remove those cells or impute the values."
        )


def check_exact(values: Tensor, index: Tensor | NDArray[np.int64], name: str) -> None:
    """Refuse integers that float32 would round. As :func:`check_finite`."""
    large = values.double().abs() > EXACT
    if bool(large.any()):
        raise ValueError(
            f"{name} holds an integer beyond 2**24, which float32 would round, at row {_rows(large, index)[0]}: "
            "store it as float64."
        )


def entries(rows: sp.csr_array, index: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
    """What CSR stores, as the checks take it: a column of values, and the row of the matrix that each is of."""
    return torch.from_numpy(rows.data[:, None]), np.repeat(index, np.diff(rows.indptr))


def _rows(bad: Tensor, index: Any) -> NDArray[np.int64]:
    at = torch.nonzero(bad.any(1))[:, 0].cpu()
    return np.asarray(index.cpu() if isinstance(index, Tensor) else index)[at.numpy()]
