"""What a report is about: cells with their labels, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from pertorch.cli._console import CliError
from pertorch.cli._question import label_that_reads
from pertorch.cli.report._files import Files
from pertorch.cli.report._guides import GuideCalls
from pertorch.cli.report._options import Options
from pertorch.data import Groups, nearest
from pertorch.tl._screen import Screen

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Study:
    """A screen with a label for each cell.

    Attributes
    ----------
    adata
        Annotated data, ``obs[groupby]`` among it.
    groups
        Its cells by label.
    control
        The control's label, of whatever type.
    options
        What is asked.
    progress
        Whether to show progress bars.
    """

    adata: AnnData
    groups: Groups
    control: Any
    options: Options
    progress: bool = False

    @classmethod
    def of(cls, adata: AnnData, options: Options, *, progress: bool = False) -> Study:
        """Check labels, control and splits.

        Raises
        ------
        CliError, KeyError, ValueError
            If a column or the control does not exist, there is no target, or a split has no controls.
        """
        groups = Groups.from_obs(adata, options.groupby)
        control = label_that_reads(groups, options.control)
        screen = Screen.from_obs(adata, options.groupby, control, options.split_by)
        if not screen.targets:
            raise CliError(f"obs column {options.groupby!r} has no group to compare with {options.control!r}.")
        return cls(adata, groups, control, options, progress)

    @cached_property
    def cells(self) -> pd.Series:
        """Number of cells by target, the control left out."""
        sizes = pd.Series(self.groups.sizes.numpy(), index=pd.Index(self.groups.names, dtype=object))
        return sizes.drop(self.control)

    @property
    def n_controls(self) -> int:
        """Control cells."""
        return int(self.groups.sizes[self.groups.index(self.control)])

    @property
    def n_unlabelled(self) -> int:
        """Cells in no group."""
        return int((self.groups.codes < 0).sum())


def label_cells(files: Files, calls: GuideCalls | None, options: Options) -> str | None:
    """See that cells have labels: those of the file, else the targets of the guides that were called.

    Returns
    -------
    What was done, where the labels were made here.

    Raises
    ------
    KeyError
        If neither ``obs`` of the screen nor ``var`` of its guides has such a column.
    """
    column = options.groupby
    if column in files.genes.obs:
        return None
    known = [*files.genes.obs.columns, *(() if calls is None else calls.adata.var.columns)]
    if calls is None or column not in calls.adata.var:
        of_guides = "" if calls is None else ", nor is it a column of the guides' var"
        raise KeyError(f"obs column {column!r} not found{of_guides}: {nearest(column, known)}")
    files.genes.obs[column] = calls.targets(column)
    return (
        f"The file has no labels `{column}`: each cell was labelled with the target of the guides called in it. Cells "
        "without a guide, and those with guides of several targets, have no label and take no part."
    )
