"""The methods of guide assignment by name: those that crispat compares (Braunger et al. 2024)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pertorch.data import Groups, obs_column
from pertorch.pp import _arguments as arguments
from pertorch.pp import _depth, _mixture, _shares
from pertorch.pp._counts import Counts, above, select
from pertorch.pp._max_guide import largest_guide
from pertorch.pp._setting import Assignment, Setting

Method = Callable[..., Assignment]


def threshold(counts: Counts, setting: Setting, *, assignment_threshold: float = 5) -> Assignment:  # noqa: ARG001
    """Every guide with at least so many counts."""
    return Assignment(above(counts, arguments.positive_threshold(assignment_threshold)), pd.DataFrame())


def maximum(counts: Counts, setting: Setting, *, assignment_threshold: float = 1) -> Assignment:  # noqa: ARG001
    """The guide with the largest count, the first of those that tie, if it has at least so many counts."""
    guide, largest = largest_guide(counts)
    wanted = np.where(largest >= arguments.positive_threshold(assignment_threshold), guide, -1)
    assigned = select(counts, lambda slab, rows: slab.indices == np.repeat(wanted[rows], np.diff(slab.indptr)))
    return Assignment(assigned, pd.DataFrame())


METHODS: Mapping[str, Method] = {
    "threshold": threshold,
    "maximum": maximum,
    "ratio": _shares.ratio,
    "quantiles": _shares.quantiles,
    "2beta": _shares.two_beta,
    "3beta": _shares.three_beta,
    "gauss": _mixture.gauss,
    "poisson_gauss": _mixture.poisson_gauss,
    "poisson": _depth.poisson,
    "negative_binomial": _depth.negative_binomial,
    "binomial": _depth.binomial,
}
ALIASES = {"umi": "threshold", "max": "maximum"}  # as crispat calls them


def find(name: str, options: Mapping[str, Any]) -> Method:
    """The method of this name.

    Raises
    ------
    ValueError
        If there is none; the message names the nearest.
    TypeError
        If it has no such option.
    """
    method = METHODS[ALIASES.get(name, arguments.one_of(name, "method", [*METHODS, *ALIASES]))]
    known = [p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(f"method {name!r} has no option {option!r}: it has {', '.join(known)}.")
    return method


def batches(adata: Any, batch_key: str | None, n_cells: int) -> Groups:
    """Batches by an ``obs`` column, or all cells in one.

    Raises
    ------
    KeyError
        If the column does not exist.
    ValueError
        If it has NaN labels.
    """
    if batch_key is None:
        return Groups(("all",), np.zeros(n_cells, dtype=np.int64), "batch")
    missing = int(obs_column(adata, batch_key).isna().sum())
    if missing:
        raise ValueError(f"obs column {batch_key!r} has no batch for {missing} cell(s): fill them or drop those cells.")
    return Groups.from_obs(adata, batch_key)
