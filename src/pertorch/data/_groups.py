"""Which cells belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch.data._names import nearest, obs_column

if TYPE_CHECKING:
    from anndata import AnnData


@final
@dataclass(frozen=True)
class Groups:
    """Groups of cells by label.

    Attributes
    ----------
    names
        One per group, in the order in which results list them.
    codes
        Group of each cell, shape ``(n_obs,)``, int64; −1 for cells in no group (NaN label, or not asked for).
    column
        The ``obs`` column that the labels come from.
    """

    names: tuple[Hashable, ...]
    codes: NDArray[np.int64]
    column: str = "group"

    @classmethod
    def from_obs(cls, adata: AnnData, column: str, groups: Sequence[Any] | None = None) -> Groups:
        """Groups by one ``obs`` column, of any dtype.

        Parameters
        ----------
        adata
            Annotated data.
        column
            Key in ``adata.obs``.
        groups
            Groups to keep, in this order, repeats dropped. ``None`` keeps all that have cells: in category order for
            a categorical column, else in order of appearance.

        Raises
        ------
        KeyError
            If the column does not exist.
        ValueError
            If a group that was asked for has no cells.
        """
        codes, names = _factorize(obs_column(adata, column))
        present = cls(names, codes, column)
        if groups is None:
            return present
        return present.select(groups)

    def select(self, names: Sequence[Any]) -> Groups:
        """Only these groups, in this order, repeats dropped.

        Raises
        ------
        ValueError
            If one has no cells, or `names` is a single name.
        """
        kept = self.positions(names)
        new_code = np.full(len(self.names) + 1, -1, dtype=np.int64)  # the last entry serves code −1
        new_code[kept] = np.arange(len(kept))
        return Groups(tuple(self.names[k] for k in kept), new_code[self.codes], self.column)

    def positions(self, names: Sequence[Any]) -> list[int]:
        """Positions of some groups, repeats dropped. Errors as :meth:`select`."""
        if isinstance(names, str):
            raise ValueError(f"groups={names!r} is one name: pass a list of names.")
        return list(dict.fromkeys(self.index(name) for name in names))

    def index(self, name: Any) -> int:
        """Position of a group.

        Raises
        ------
        ValueError
            If there is no such group; the message names the nearest ones.
        """
        try:
            return self._index[name]
        except (KeyError, TypeError):
            raise ValueError(
                f"group {name!r} has no cells in obs column {self.column!r}: {nearest(name, self.names)}"
            ) from None

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {name: i for i, name in enumerate(self.names)}

    def order(self, device: torch.device) -> torch.Tensor:
        """Rows of the matrix sorted by group, shape ``(offsets[-1],)``; within a group as in the data."""
        n_outside = len(self.codes) - int(self.offsets[-1])
        if device.type == "cpu":
            return torch.from_numpy(_argsort(self.codes + 1, len(self.names) + 1)[n_outside:])
        return torch.sort(torch.from_numpy(self.codes).to(device), stable=True).indices[n_outside:]

    @cached_property
    def offsets(self) -> torch.Tensor:
        """Shape ``(k + 1,)``, int64: group ``g`` is rows ``offsets[g]:offsets[g + 1]`` of `order`."""
        sizes = np.bincount(self.codes + 1, minlength=len(self.names) + 1)[1:]
        return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def sizes(self) -> torch.Tensor:
        """Cells in each group, shape ``(k,)``, int64."""
        return self.offsets.diff()

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """A number for each group that depends on its name alone: the group's random stream, whatever else is there."""
        digests = [hashlib.blake2b(repr(name).encode(), digest_size=8).digest() for name in self.names]
        return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def _argsort(values: NDArray[np.int64], stop: int) -> NDArray[np.int64]:
    """Stable order of integers from 0 to ``stop − 1``, 16 bits at a time: numpy sorts those by radix, far sooner."""
    order = np.argsort(values.astype(np.uint16), kind="stable")
    for shift in range(16, int(stop - 1).bit_length(), 16):
        order = order[np.argsort((values >> shift).astype(np.uint16)[order], kind="stable")]
    return order


def _factorize(labels: pd.Series) -> tuple[NDArray[np.int64], tuple[Hashable, ...]]:
    """Codes and names of the labels that occur; NaN is −1."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        names: pd.Index = labels.cat.categories
        codes = labels.cat.codes.to_numpy().astype(np.int64)
    else:
        codes, names = pd.factorize(labels)
        codes = codes.astype(np.int64)
    used = np.flatnonzero(np.bincount(codes + 1, minlength=len(names) + 1)[1:])
    if len(used) < len(names):
        new_code = np.full(len(names) + 1, -1, dtype=np.int64)
        new_code[used] = np.arange(len(used))
        codes, names = new_code[codes], names[used]
    return codes, tuple(names.tolist())
