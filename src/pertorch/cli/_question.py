"""Which distances are asked for, and the answer as one tidy table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pertorch.cli._console import CliError
from pertorch.data import Groups
from pertorch.metrics import METRICS
from pertorch.tl import Distance

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Question:
    """Distances of which groups: checked against the data, before any work.

    Attributes
    ----------
    groupby
        Column of ``obs``.
    splits
        Columns within whose levels groups are compared.
    contrasts
        As :meth:`Distance.create_contrasts` makes them; None asks for all pairs.
    """

    groupby: str
    splits: tuple[str, ...]
    contrasts: pd.DataFrame | None

    @classmethod
    def ask(cls, adata: AnnData, groupby: str, control: str | None, splits: Sequence[str] = ()) -> Question:
        """Ask for distances to `control`, or between all pairs where it is None.

        Raises
        ------
        CliError, KeyError, ValueError
            If a column or the control does not exist, or there is nothing to compare.
        """
        known = Groups.from_obs(adata, groupby)
        if control is None:
            if splits:
                raise CliError("--pairwise and --split-by do not go together: name a --control.")
            if len(known.names) < 2:
                raise CliError(f"obs column {groupby!r} has {len(known.names)} group(s): a distance needs two.")
            return cls(groupby, (), None)
        label = label_that_reads(known, control)
        contrasts = Distance.create_contrasts(adata, groupby, label, split_by=list(splits))
        if contrasts.empty:
            within = f" within the levels of {', '.join(splits)}" if splits else ""
            raise CliError(f"obs column {groupby!r} has no group to compare with {control!r}{within}.")
        return cls(groupby, tuple(splits), contrasts)

    def answer(
        self, distance: Distance, adata: AnnData, *, bootstrap: int | None = None, seed: int = 0, progress: bool = False
    ) -> pd.DataFrame:
        """Measure.

        Parameters
        ----------
        distance
            With its metric and the key of the matrix.
        adata
            The data that was asked about, with that matrix.
        bootstrap, seed
            Replicates, and the seed that they come from.
        progress
            Whether to show a progress bar.

        Returns
        -------
        One row per distance, largest first (within strata): labels, ``"cells"`` of the group, the distance in a
        column named after the metric, and with `bootstrap` its ``"mean"`` and ``"sd"`` over replicates.
        """
        (table,) = self._measure(distance, adata, show_progressbar=progress)
        if bootstrap:
            how = {"bootstrap": True, "n_bootstrap": bootstrap, "random_state": seed}
            mean, variance = self._measure(distance, adata, show_progressbar=progress, **how)
            table = table.assign(mean=mean[distance.metric], sd=np.sqrt(variance[distance.metric]))
        ascending = [True] * len(self.splits) + [False]
        return table.sort_values([*self.splits, distance.metric], ascending=ascending, kind="stable", ignore_index=True)

    def _measure(self, distance: Distance, adata: AnnData, **how: Any) -> list[pd.DataFrame]:
        """One tidy frame, or two with bootstrap."""
        if self.contrasts is None:
            squares = distance.pairwise(adata, self.groupby, **how)
            return [_pairs(square, distance.metric) for square in _several(squares)]
        frames = distance.contrast_distances(adata, self.contrasts, **how)
        labels = [self.groupby, *self.splits]
        sizes = adata.obs[labels].astype(object).value_counts()
        cells = sizes.reindex(pd.MultiIndex.from_frame(self.contrasts[labels].astype(object))).to_numpy()
        at = len(labels) + 1
        return [
            pd.concat([frame.iloc[:, :at], pd.Series(cells, name="cells"), frame.iloc[:, at:]], axis=1)
            for frame in _several(frames)
        ]


def label_that_reads(groups: Groups, text: str) -> Any:
    """The label, of whatever type, that reads like this, since a shell knows only text; else the text itself."""
    return next((name for name in groups.names if str(name) == text), text)


def _several(result: pd.DataFrame | tuple[pd.DataFrame, ...]) -> tuple[pd.DataFrame, ...]:
    return result if isinstance(result, tuple) else (result,)


def _pairs(square: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Each pair of a square table as a row: X, Y, value; one of (a, b) and (b, a) where the metric is symmetric."""
    n, symmetric = len(square), METRICS[metric].symmetric
    left, right = np.triu_indices(n, 1) if symmetric else np.nonzero(~np.eye(n, dtype=bool))
    names, groupby = square.index, square.index.name
    return pd.DataFrame(
        {groupby: names[left], f"{groupby} (other)": names[right], metric: square.to_numpy()[left, right]}
    )
