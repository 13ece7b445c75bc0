"""What a power analysis draws from a pilot, and the table that it fills."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import torch

from pertorch._settings import seed_or_default
from pertorch.data import Groups
from pertorch.stats import subsamples, wilson_interval
from pertorch.tl._arguments import whole_number

if TYPE_CHECKING:
    from anndata import AnnData


@final
@dataclass(frozen=True)
class Design:
    """What is drawn from a pilot: arguments of a power analysis, checked.

    Attributes
    ----------
    groups
        Cells by target, the control among them.
    control
        Its position.
    targets
        Positions of the targets.
    sizes
        Cells of a target, ascending.
    n_replicates, seed, replace
        Drawn screens; of the draws; whether a cell may be drawn twice.
    """

    groups: Groups
    control: int
    targets: tuple[int, ...]
    sizes: tuple[int, ...]
    n_replicates: int
    seed: int
    replace: bool

    @classmethod
    def of(
        cls,
        adata: AnnData,
        groupby: str,
        control: Any,
        n_cells: Sequence[int] | int,
        groups: Sequence[Any] | None,
        n_replicates: int,
        random_state: int | None,
        *,
        replace: bool,
    ) -> Design:
        """Check the arguments against the labels.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the column, the control or a target does not exist, a number is not a whole one or is too small, or no
            target has cells enough for any size.
        """
        known = Groups.from_obs(adata, groupby)
        at = known.index(control)
        wanted = known.positions([name for name in known.names if name != control] if groups is None else groups)
        asked = list(n_cells) if isinstance(n_cells, Sequence | np.ndarray) else [n_cells]
        sizes = sorted({whole_number(n, "n_cells", 2) for n in asked})
        targets = tuple(t for t in wanted if t != at)
        if not sizes or not targets:
            raise ValueError(f"n_cells={n_cells!r}, groups={groups!r}: name at least one size and one target.")
        design = cls(
            known, at, targets, tuple(sizes), whole_number(n_replicates, "n_replicates", 1),
            whole_number(seed_or_default(random_state), "random_state"), replace,
        )  # fmt: skip
        design._warn_of_small_targets()
        return design

    def _warn_of_small_targets(self) -> None:
        pilot = self.groups.sizes
        small = [t for t in self.targets if not self.replace and int(pilot[t]) < self.sizes[-1]]
        if not small:
            return
        if self.sizes[0] > max(int(pilot[t]) for t in self.targets):
            raise ValueError(
                f"no target of the pilot has n_cells={self.sizes[0]} cells, the largest has "
                f"{max(int(pilot[t]) for t in self.targets)}: ask for fewer, or simulate a larger pilot."
            )
        names = ", ".join(f"{self.groups.names[t]!r} ({int(pilot[t])})" for t in small[:10])
        more = f" and {len(small) - 10} more" if len(small) > 10 else ""
        warnings.warn(
            f"the pilot has fewer than {self.sizes[-1]} cells of {names}{more}: their larger sizes are left out.",
            UserWarning,
            stacklevel=4,
        )

    def targets_at(self, n: int) -> list[int]:
        """Targets from which so many cells can be drawn."""
        return [t for t in self.targets if self.replace or int(self.groups.sizes[t]) >= n]

    def draw(self, group: int, n: int, *, replace: bool | None = None) -> torch.Tensor:
        """Cells of each replicate, positions in the group: shape ``(n_replicates, n)``."""
        key, size = int(self.groups.keys[group]), int(self.groups.sizes[group])
        replace = self.replace if replace is None else replace
        return subsamples(self.seed, key, self.n_replicates, n, size, replace=replace)

    def rng(self, group: int, n: int) -> np.random.Generator:
        """Of what is not drawn from cells; whichever other targets and sizes are asked for."""
        return np.random.default_rng([self.seed, int(self.groups.keys[group]) % 2**63, n])

    def table(self, rows: list[dict[str, Any]], level: float) -> pd.DataFrame:
        """Counts of detections with their share and its interval, target by target."""
        frame = pd.DataFrame(rows)
        order = np.lexsort([frame["n_cells"], pd.Index(self.targets).get_indexer(frame["target"])])
        frame = frame.iloc[order].reset_index(drop=True)
        detected, trials = frame["n_detected"].to_numpy(), np.full(len(frame), self.n_replicates)
        lower, upper = wilson_interval(detected, trials, level)
        frame.insert(1, "pilot_cells", [int(self.groups.sizes[t]) for t in frame["target"]])
        frame["target"] = pd.Series([self.groups.names[t] for t in frame["target"]], dtype=object)
        frame.insert(list(frame.columns).index("n_detected") + 1, "n_replicates", trials)
        more = [frame.pop(column) for column in frame.columns[6:]]
        return pd.concat([frame.assign(power=detected / trials, lower=lower, upper=upper), *more], axis=1)
