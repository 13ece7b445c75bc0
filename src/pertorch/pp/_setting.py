"""What every method of guide assignment is given beside the counts, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.data import Groups

_NAMED = 20
_NOT_FITTED = "not fitted, and in no cell: each was seen in fewer than 2 cells, or never with 2 molecules in one"
_NOT_CONVERGED = "did not converge: raise max_iter, or take their assignment with care"


class Setting(NamedTuple):
    """Batches of cells (one where the caller names none), where to compute, and whether to show progress."""

    batches: Groups
    devices: Sequence[torch.device]
    show_progress: bool | None = None

    @property
    def device(self) -> torch.device:
        """Where the counts are gone over; the fits are divided among all of them."""
        return self.devices[0]


class Assignment(NamedTuple):
    """What a method finds.

    Attributes
    ----------
    assigned
        Cells × guides, int8: one where assigned, zeros not stored.
    parameters
        A row for each fit; empty for a method that fits nothing.
    notes
        What the user should be warned of.
    """

    assigned: sp.csr_array
    parameters: pd.DataFrame
    notes: tuple[str, ...] = ()


def notes_on_fits(guides: pd.Index, skipped: NDArray[np.bool_], converged: NDArray[np.bool_]) -> tuple[str, ...]:
    """At most one note on guides without a fit, and one on guides whose fit did not converge, by name."""
    found = ((skipped, _NOT_FITTED), (~skipped & ~converged, _NOT_CONVERGED))
    return tuple(f"{which.sum()} guide(s) {why}: {_some(guides[which])}." for which, why in found if which.any())


def _some(names: pd.Index) -> str:
    shown = ", ".join(map(str, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
