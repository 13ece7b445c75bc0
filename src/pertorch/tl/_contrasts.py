"""Tables of contrasts: which target against which reference, within which stratum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from pertorch.data import Groups, Pairs, nearest, obs_column
from pertorch.metrics import METRICS

if TYPE_CHECKING:
    from anndata import AnnData


def create(
    adata: AnnData,
    groupby: str,
    selected_group: Any,
    *,
    groups: Sequence[Any] | None = None,
    split_by: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Build a table of contrasts for :meth:`Distance.contrast_distances`.

    Parameters
    ----------
    adata
        Annotated data.
    groupby
        Column of ``adata.obs`` whose levels are compared.
    selected_group
        The reference level, or a list of them: then one row per target and reference.
    groups
        Targets to include. ``None`` takes every level that is no reference.
    split_by
        Column(s) of ``adata.obs``: contrasts are made within each observed combination of their levels in which both
        the target and the reference have cells.

    Returns
    -------
    One row per contrast: columns `groupby`, ``"reference"``, then those of `split_by`; sorted by reference, strata,
    target.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a reference or a group has no cells.
    """
    known = Groups.from_obs(adata, groupby)
    baselines, _ = references(selected_group, known)
    wanted = set(known.names if groups is None else known.select(groups).names) - set(baselines)
    splits = [split_by] if isinstance(split_by, str) else list(split_by or [])
    if groupby in splits:
        raise ValueError(f"split_by={split_by!r} names the groupby column {groupby!r}: split by other columns.")
    observed = _observed(adata, [known, *(Groups.from_obs(adata, column) for column in splits)])
    targets = observed[observed[groupby].isin(wanted)]
    parts = []
    for reference in baselines:
        strata = observed.loc[observed[groupby] == reference, splits]
        part = targets.merge(strata, on=splits) if splits else targets
        parts.append(part.assign(reference=reference))
    out = pd.concat(parts)[[groupby, "reference", *splits]]
    return out.sort_values(["reference", *splits, groupby], ignore_index=True)


def references(selected_group: Any, known: Groups) -> tuple[list[Any], bool]:
    """The references, repeats dropped, and whether one was named by itself.

    Raises
    ------
    ValueError
        If there is none, or one has no cells.
    """
    several = isinstance(selected_group, Sequence | np.ndarray | pd.Index) and not isinstance(selected_group, str)
    names = [known.names[k] for k in known.positions(selected_group if several else [selected_group])]
    if not names:
        raise ValueError("selected_group=[] names no reference: name one group or several.")
    return names, not several


def validate(adata: AnnData, contrasts: pd.DataFrame) -> None:
    """Check that a table of contrasts fits the data.

    Raises
    ------
    ValueError
        If the table has no ``"reference"`` column or begins with it, or a column or a value of it is not in
        ``adata.obs``. The message names it and the nearest existing names.
    """
    if not isinstance(contrasts, pd.DataFrame):
        raise ValueError(f"contrasts is a {type(contrasts).__name__}: pass a pandas DataFrame.")
    if "reference" not in contrasts.columns:
        raise ValueError("contrasts has no column 'reference': add one with the reference of each row.")
    if contrasts.columns[0] == "reference":
        raise ValueError("contrasts begins with column 'reference': put the target column first.")
    groupby, *splits = _columns(contrasts)
    for column in [groupby, *splits]:
        if column not in adata.obs.columns:
            raise ValueError(f"contrasts column {column!r} is not in obs: {nearest(column, adata.obs.columns)}")
    for obs, columns in [(groupby, (groupby, "reference")), *((split, (split,)) for split in splits)]:
        levels = Groups.from_obs(adata, obs).names
        known = set(levels)
        for column in columns:
            for value in contrasts[column].unique().tolist():
                if value not in known:
                    raise ValueError(
                        f"contrasts column {column!r}: {value!r} is not in obs {obs!r}: {nearest(value, levels)}"
                    )


def conditions(adata: AnnData, contrasts: pd.DataFrame) -> tuple[Groups, Pairs]:
    """The (label, stratum…) combinations that a valid table needs, as groups, and its rows as pairs of them."""
    groupby, *splits = _columns(contrasts)
    targets, references = (
        list(contrasts[[label, *splits]].itertuples(index=False, name=None)) for label in (groupby, "reference")
    )
    names = list(dict.fromkeys([*targets, *references]))
    levels = [Groups.from_obs(adata, column) for column in [groupby, *splits]]
    wanted = [[column.index(name[i]) for name in names] for i, column in enumerate(levels)]
    codes = pd.Index(_combined(levels, wanted)).get_indexer(_combined(levels, [column.codes for column in levels]))
    plain = names if splits else [name for (name,) in names]  # the name decides the random stream: as in other verbs
    groups = Groups(tuple(plain), codes.astype(np.int64), groupby)
    empty = [name for name, size in zip(names, groups.sizes.tolist(), strict=True) if not size]
    if empty:
        raise ValueError(
            f"no cells for contrast condition {dict(zip([groupby, *splits], empty[0], strict=True))}"
            f"{f' and {len(empty) - 1} more' if len(empty) > 1 else ''}: remove those rows."
        )
    position = {name: i for i, name in enumerate(names)}
    left, right = (torch.tensor([position[n] for n in side], dtype=torch.int64) for side in (targets, references))
    return groups, Pairs(left, right)


def _columns(contrasts: pd.DataFrame) -> list[str]:
    """Target column and filters; a column named after a metric is a result that was fed back in."""
    return [column for column in contrasts.columns if column != "reference" and column not in METRICS]


def _observed(adata: AnnData, levels: list[Groups]) -> pd.DataFrame:
    """Each combination of labels that has cells, once."""
    cells = np.flatnonzero(~pd.Series(_combined(levels, [of.codes for of in levels])).duplicated())
    return pd.DataFrame({of.column: obs_column(adata, of.column).iloc[cells].to_numpy() for of in levels}).dropna()


def _combined(levels: list[Groups], codes: Sequence[ArrayLike]) -> NDArray[np.int64]:
    """One number for a combination of labels, from their codes: a hundred million cells have few of them."""
    number = np.zeros(1, dtype=np.int64)
    for column, of_column in zip(levels, codes, strict=True):
        number = number * (len(column.names) + 1) + (np.asarray(of_column) + 1)
    return number
