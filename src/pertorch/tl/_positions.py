"""Where cells lie on the lines of their targets, and the tables that this becomes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.solvers.projection import Projection
from pertorch.tl._screen import Screen, Split, split_key


@final
@dataclass(frozen=True)
class Positions:
    """Where the cells of some targets, and for each of them all controls, lie on the line between them.

    Attributes
    ----------
    split
        Name of the split.
    targets, lengths
        Positions of the targets among the names of the screen, and how many cells and controls belong to each.
    rows, is_control, values
        Target after target, the cells of each in the order of the data.
    """

    split: str
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    is_control: NDArray[np.bool_]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, split: Split, batch: NDArray[np.int64], cells: NDArray[np.int64], projection: Projection) -> Positions:
        """Of a batch of targets of a split, whose cells are `cells`; from host memory."""
        controls, sizes = split.controls, split.sizes[batch]
        lengths = sizes + len(controls)
        # A cell comes after the controls before it, after the cells of its target before it, and after other targets.
        before = np.cumsum(lengths) - lengths - (np.cumsum(sizes) - sizes)
        at = np.repeat(before, sizes) + np.arange(len(cells)) + np.searchsorted(controls, cells)
        is_control = np.ones(lengths.sum(), dtype=bool)
        is_control[at] = False
        of_controls = np.flatnonzero(is_control)
        rows, values = np.empty(len(is_control), dtype=np.int64), np.empty(len(is_control))
        rows[at], values[at] = cells, projection.of_targets.numpy()[inside(sizes)]
        rows[of_controls.reshape(len(batch), -1)] = controls
        values[of_controls] = projection.of_controls.numpy().ravel()
        return cls(split_key(split), split.targets[batch], lengths, rows, is_control, values)


def frames(
    parts: Sequence[Positions], screen: Screen, obs_names: pd.Index, pert_key: str
) -> dict[str, dict[str, pd.DataFrame]]:
    """Positions as both peers store them: target → split → cells × (``pvec``, label)."""
    if not parts:
        return {}
    # One table cut up: making one takes pandas longer than all of their rows.
    targets, lengths, rows, is_control, values = (
        np.concatenate([getattr(of, name) for of in parts])
        for name in ("targets", "lengths", "rows", "is_control", "values")
    )
    names = [str(name) for name in screen.groups.names]
    codes = np.repeat(targets.astype(np.int32), lengths)
    codes[is_control] = screen.control
    table = pd.DataFrame(
        {"pvec": values, pert_key: labels_of(codes, names, only_used=False)}, index=obs_names[rows], copy=False
    )
    out: dict[str, dict[str, pd.DataFrame]] = {}
    splits = itertools.chain.from_iterable([of.split] * len(of.targets) for of in parts)
    ends = np.cumsum(lengths).tolist()
    for target, key, start, stop in zip(targets.tolist(), splits, [0, *ends], ends, strict=False):
        out.setdefault(names[target], {})[key] = table.iloc[start:stop]
    return out


def inside(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places of a padded batch are cells."""
    return np.arange(sizes.max()) < sizes[:, None]


def labels_of(
    codes: NDArray[np.integer], texts: Sequence[str] | NDArray[Any], *, only_used: bool = True
) -> pd.Categorical:
    """A categorical of the texts, those that occur or all; −1 is missing."""
    used = np.bincount(codes + 1, minlength=len(texts) + 1)[1:] > 0 if only_used else np.ones(len(texts), dtype=bool)
    categories = sorted({text for text, there in zip(texts, used.tolist(), strict=True) if there})
    place = {text: i for i, text in enumerate(categories)}
    small = np.min_scalar_type(-len(categories) - 1)
    where = np.array([*(place.get(text, -1) for text in texts), -1], dtype=small)  # the last entry serves code −1
    dtype = pd.CategoricalDtype(np.array(categories, dtype=object))
    return pd.Categorical.from_codes(where[codes], dtype=dtype, validate=False)
