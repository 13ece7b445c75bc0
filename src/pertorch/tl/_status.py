"""What became of each target of each split: the table that ``mixscape`` and ``mixscale`` leave beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.tl._screen import Screen, Split, split_key

Markers = Sequence[NDArray[np.int64]]
ONE_CELL, FEW_MARKERS, NO_DIRECTION = "one cell", "too few markers", "no direction"
FEW_PERTURBED, PERTURBED = "too few perturbed cells", "perturbed"


def testable(split: Split, markers: Markers, least: int) -> list[NDArray[np.int64]]:
    """The markers, none where a target has a single cell or fewer markers than `least`."""
    return [
        genes if size > 1 and len(genes) >= least else genes[:0]
        for genes, size in zip(markers, split.sizes.tolist(), strict=True)
    ]


@final
class Status:
    """The targets of one split, or a part of them. Those that are not tested say why from the start.

    Parameters
    ----------
    split
        The split.
    markers
        Markers found of each of its targets.
    tested
        Those that are used: none of a target that is not tested.
    """

    def __init__(self, split: Split, markers: Markers, tested: Markers) -> None:
        self._split = split
        self._n_markers = np.array([len(genes) for genes in markers], dtype=np.int64)
        self._tested = np.array([len(genes) > 0 for genes in tested], dtype=bool)
        self._status = np.where(split.sizes < 2, ONE_CELL, FEW_MARKERS).astype(object)
        self._more: dict[str, NDArray[Any]] = {}

    @property
    def perturbed(self) -> NDArray[np.bool_]:
        """Which targets have perturbed cells."""
        return self._status == PERTURBED

    def column(self, name: str) -> NDArray[Any]:
        """One of the further columns, 0 where a target was not tested."""
        return self._more.get(name, np.zeros(len(self._status)))

    def put(self, at: NDArray[np.int64], status: NDArray[Any], **values: NDArray[Any]) -> None:
        """What is known of the tested targets `at`: their status, and further columns."""
        self._status[at] = status
        for name, of_targets in values.items():
            column = self._more.setdefault(name, np.zeros(len(self._status), dtype=of_targets.dtype))
            column[at] = of_targets

    @classmethod
    def frame(cls, splits: Sequence[Status], screen: Screen) -> pd.DataFrame:
        """A row for each split and target, by both. Further columns miss a value where a target was not tested."""
        targets = np.concatenate([np.empty(0, dtype=np.int64), *(of._split.targets for of in splits)])
        columns: dict[str, Any] = {
            "target": [str(screen.groups.names[h]) for h in targets.tolist()],
            "split": [split_key(of._split) for of in splits for _ in of._status],
            "n_cells": np.concatenate([targets[:0], *(of._split.sizes for of in splits)]),
            "n_markers": np.concatenate([targets[:0], *(of._n_markers for of in splits)]),
        }
        for name, dtype in {name: values.dtype for of in splits for name, values in of._more.items()}.items():
            parts = [of._more.get(name, np.zeros(len(of._status), dtype=dtype)) for of in splits]
            columns[name] = _with_gaps(np.concatenate(parts), np.concatenate([of._tested for of in splits]))
        columns["status"] = [word for of in splits for word in of._status]
        frame = pd.DataFrame(columns)
        order = np.lexsort([targets, pd.factorize(frame["split"])[0]])
        return frame.iloc[order].reset_index(drop=True)


def _with_gaps(values: NDArray[Any], there: NDArray[np.bool_]) -> Any:
    """A column of a type that can be written to a file although values are missing."""
    if values.dtype.kind == "f":
        return np.where(there, values, np.nan)
    if values.dtype.kind == "b":
        return pd.arrays.BooleanArray(values, ~there)
    return pd.arrays.IntegerArray(values.astype(np.int64), ~there)
