"""The cells of a screen: targets against their controls, split by split. What every Mixscape call begins with."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pertorch.data import Groups, nearest

if TYPE_CHECKING:
    from anndata import AnnData


@final
@dataclass(frozen=True)
class Split:
    """The cells of one split (a replicate, a cell type), or of all.

    Attributes
    ----------
    name
        Its label; ``None`` where the screen is not split.
    members
        Its cells, in the order of the data, whatever their label.
    rows
        Those that have a label: the controls, then target by target in the order of `targets`.
    offsets
        Shape ``(k + 1,)``: the controls are ``rows[:offsets[1]]``, target ``targets[h]`` ``rows[offsets[h + 1]:…]``.
    targets
        Positions, among the names of the screen, of the targets that have cells here.
    """

    name: Hashable | None
    members: NDArray[np.int64]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, name: Hashable | None, members: NDArray[np.int64], codes: NDArray[np.int64], control: int) -> Split:
        """From the label of every cell of the screen, −1 for none; `members` are those of the split."""
        labels = codes[members]
        labelled = labels >= 0
        cells_of = np.bincount(labels[labelled], minlength=control + 1)
        n_controls, cells_of[control] = int(cells_of[control]), 0
        targets = np.flatnonzero(cells_of)
        offsets = np.concatenate([[0, n_controls], n_controls + np.cumsum(cells_of[targets])]).astype(np.int64)
        rank = np.where(labels == control, -1, labels)[labelled]  # controls first
        if len(targets) and targets[-1] < 2**15:
            rank = rank.astype(np.int16)  # numpy sorts 16-bit integers by radix, 20 times sooner
        return cls(name, members, members[labelled][np.argsort(rank, kind="stable")], offsets, targets)

    @property
    def controls(self) -> NDArray[np.int64]:
        """The control cells."""
        return self.rows[: self.offsets[1]]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Cells of each target."""
        return np.diff(self.offsets)[1:]

    def cells(self, h: int) -> NDArray[np.int64]:
        """The cells of ``targets[h]``."""
        return self.rows[self.offsets[h + 1] : self.offsets[h + 2]]

    def only(self, targets: NDArray[np.int64]) -> Split:
        """The same controls, and of the targets these, by their position."""
        rows = np.concatenate([self.controls, *(self.cells(h) for h in targets)])
        offsets = np.concatenate([[0], np.cumsum([len(self.controls), *self.sizes[targets]])])
        return Split(self.name, self.members, rows, offsets, self.targets[targets])


@final
@dataclass(frozen=True)
class Screen:
    """Labels of a screen, one of which is the control.

    Attributes
    ----------
    groups
        Cells by target, the control being one of the names.
    control
        Position of the control among the names.
    splits
        One per label of `split_by`, in order of appearance or of categories; one in all where it is not split.
    split_by
        The column that splits.
    """

    groups: Groups
    control: int
    splits: tuple[Split, ...]
    split_by: str | None = None

    @classmethod
    def from_obs(cls, adata: AnnData, pert_key: str, control: Any, split_by: str | None = None) -> Screen:
        """Read the labels.

        Raises
        ------
        KeyError
            If a column does not exist.
        ValueError
            If the control has no cells, at all or in one of the splits, or a cell belongs to no split.
        """
        groups = Groups.from_obs(adata, pert_key)
        at = groups.index(control)
        if split_by is None:
            everyone = np.arange(adata.n_obs)
            return cls(groups, at, (Split.of(None, everyone, groups.codes, at),))
        parts = Groups.from_obs(adata, split_by)
        unsplit = int(np.count_nonzero(parts.codes < 0))
        if unsplit:
            raise ValueError(
                f"{unsplit} cell(s) have no label in obs column {split_by!r}, which split_by names, the first at row "
                f"{int(np.argmax(parts.codes < 0))}: label them, or remove them from the data."
            )
        members = np.split(parts.order(torch.device("cpu")).numpy(), parts.offsets[1:-1].numpy())
        splits = [Split.of(name, cells, groups.codes, at) for name, cells in zip(parts.names, members, strict=True)]
        lacking = [split.name for split in splits if not len(split.controls)]
        if lacking:
            raise ValueError(
                f"no cell of control {control!r} in {split_by} {lacking[0]!r}"
                f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}: every split needs controls of its "
                "own. Remove such cells, or split by another column."
            )
        return cls(groups, at, tuple(splits), split_by)

    @property
    def targets(self) -> list[Hashable]:
        """Names of the targets, the control left out."""
        return [name for h, name in enumerate(self.groups.names) if h != self.control]


def split_key(split: Split) -> str:
    """How results name a split: ``"all"`` where there is but one."""
    return "all" if split.name is None else str(split.name)


def check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not one of `choices`.

    Raises
    ------
    ValueError
        If it is not.
    """
    if value not in choices:
        raise ValueError(
            f"{argument}={value!r} is not one of: {', '.join(map(repr, choices))}: {nearest(value, choices)}"
        )


def check_least(argument: str, value: float | None, least: float) -> None:
    """Refuse a number below `least`; ``None`` passes.

    Raises
    ------
    ValueError
        If it is.
    """
    if value is not None and not value >= least:
        raise ValueError(f"{argument}={value!r} must be at least {least}.")


def target_of(adata: AnnData, *, copy: bool) -> AnnData:
    """What a call writes its results to: the caller's object, or a copy of it in memory."""
    if not copy:
        return adata
    in_files = adata.isbacked or not all(hasattr(layer, "copy") for layer in adata.layers.values())
    return adata.to_memory() if in_files else adata.copy()
