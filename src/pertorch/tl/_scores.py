"""Scores of all cells, filled split by split, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch.solvers.projection import LeftOut, Projection
from pertorch.tl._positions import Positions, frames, inside
from pertorch.tl._screen import Screen, Split
from pertorch.tl._status import NO_DIRECTION, Markers, Status

if TYPE_CHECKING:
    from anndata import AnnData


@final
class Line(NamedTuple):
    """A batch of targets on their lines, in host memory: see :meth:`Line.of`.

    Attributes
    ----------
    at
        Positions of cells and controls.
    scores, of_controls
        The same in standard deviations of the controls from their mean; of the controls only where they are wanted.
    left_out
        Positions without each marker, target by target, where they are wanted.
    """

    at: Projection
    scores: torch.Tensor
    of_controls: torch.Tensor
    left_out: list[LeftOut]

    @classmethod
    def of(cls, line: Projection, left_out: list[LeftOut], *, controls: bool, positions: bool) -> Line:
        """Standardise a batch by its controls."""
        centre = line.of_controls.mean(1, keepdim=True)
        spread = line.of_controls.std(1, keepdim=True) if line.of_controls.shape[1] > 1 else torch.ones_like(centre)
        spread = torch.where(spread > 0, spread, 1.0)
        scores, of_controls = ((part - centre) / spread for part in line[:2])
        kept = line if positions else line._replace(of_controls=line.of_controls[:, :0])
        return cls(
            Projection(*(part.cpu() for part in kept)),
            scores.cpu(),
            (of_controls if controls else of_controls[:, :0]).cpu(),
            [LeftOut(*(part.cpu() for part in of)) for of in left_out],
        )


@final
@dataclass
class Scores:
    """What is known of every cell."""

    values: NDArray[np.float64]
    status: list[Status] = field(default_factory=list)
    of_controls: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = field(default_factory=dict)
    positions: list[Positions] = field(default_factory=list)
    left_out: list[tuple[NDArray[np.int64], LeftOut]] = field(default_factory=list)

    def take(
        self, split: Split, batch: NDArray[np.int64], line: Line, tested: Markers, *, controls: bool, positions: bool
    ) -> None:
        """A batch of targets of the split whose status came last."""
        sizes, exists = split.sizes[batch], line.at.exists.numpy()
        cells = np.concatenate([split.cells(h) for h in batch.tolist()])
        scores = np.where(exists[:, None] & inside(sizes), line.scores.numpy(), 0.0)
        self.values[cells] = scores[inside(sizes)]
        self.status[-1].put(batch, np.where(exists, "scored", NO_DIRECTION), mean_score=scores.sum(1) / sizes)
        if controls:
            for h, of_target in zip(
                split.targets[batch[exists]].tolist(), line.of_controls.numpy()[exists], strict=True
            ):
                self.of_controls.setdefault(h, []).append((split.controls, of_target))
        if positions:
            self.positions.append(Positions.of(split, batch, cells, line.at))
            self.left_out += [(tested[h], of) for h, of in zip(batch.tolist(), line.left_out, strict=True)]

    def write(
        self, adata: AnnData, screen: Screen, column: str, pert_key: str, *, controls: bool, positions: bool
    ) -> None:
        """Scores, status, and where asked for the controls' own scores and the positions."""
        adata.obs[column] = self.values
        adata.uns["mixscale_status"] = Status.frame(self.status, screen)
        if controls:
            adata.uns[f"{column}_controls"] = self._table_of_controls(screen, adata.obs_names)
        if positions:
            adata.uns["mixscale"] = self._frames(screen, adata, pert_key)

    def _table_of_controls(self, screen: Screen, obs_names: pd.Index) -> pd.DataFrame:
        """Controls × targets; missing where a split does not score the target."""
        scored = sorted(self.of_controls)
        table = np.full((len(obs_names), len(scored)), np.nan)
        for column, h in enumerate(scored):
            for rows, values in self.of_controls[h]:
                table[rows, column] = values
        rows = np.flatnonzero(screen.groups.codes == screen.control)
        return pd.DataFrame(table[rows], index=obs_names[rows], columns=[str(screen.groups.names[h]) for h in scored])

    def _frames(self, screen: Screen, adata: AnnData, pert_key: str) -> dict[str, dict[str, pd.DataFrame]]:
        """Target → split → cells × (``pvec``, label, then the position without each marker)."""
        out: dict[str, dict[str, pd.DataFrame]] = {}
        left_out = iter(self.left_out)
        for part in self.positions:
            ends = np.cumsum(part.lengths).tolist()
            tables = frames([part], screen, adata.obs_names, pert_key)
            for h, start, stop in zip(part.targets.tolist(), [0, *ends], ends, strict=False):
                genes, of = next(left_out)
                name = str(screen.groups.names[h])
                is_control = part.is_control[start:stop]
                values = np.empty((stop - start, len(genes)))
                values[is_control], values[~is_control] = of.of_controls.numpy(), of.of_targets.numpy()
                table = tables[name][part.split]
                more = pd.DataFrame(values, index=table.index, columns=adata.var_names[genes])
                out.setdefault(name, {})[part.split] = pd.concat([table, more], axis=1)
        return out
