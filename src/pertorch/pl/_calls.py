"""What ``Mixscape.mixscape`` wrote about each cell, as plots read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pertorch.data import obs_column

if TYPE_CHECKING:
    from anndata import AnnData

NOT_PERTURBED = "NP"


class Calls(NamedTuple):
    """Calls of all cells: shape ``(n_obs,)`` each, objects.

    Attributes
    ----------
    target
        Name of the cell's target, the control's label for controls; ``None`` where the cell has no class.
    kind
        ``"NP"``, the perturbation type, or the control's label; ``None`` where the cell has no class.
    """

    target: NDArray[np.object_]
    kind: NDArray[np.object_]

    @classmethod
    def of(cls, adata: AnnData, mixscape_class: str, mixscape_class_global: str) -> Calls:
        """Read them from ``adata.obs``.

        Raises
        ------
        KeyError
            If a column does not exist.
        ValueError
            If the columns are not of one run: a class is neither its global class nor ends in it.
        """
        pairs = pd.DataFrame(
            {
                "class": obs_column(adata, mixscape_class).astype(object).to_numpy(),
                "kind": obs_column(adata, mixscape_class_global).astype(object).to_numpy(),
            }
        )
        target = np.full(len(pairs), None, dtype=object)
        kind = target.copy()
        for (name, end), rows in pairs.groupby(["class", "kind"]).indices.items():
            text, suffix = str(name), str(end)
            if text != suffix and not text.endswith(f" {suffix}"):
                raise ValueError(
                    f"obs columns {mixscape_class!r} and {mixscape_class_global!r} are not of one run: class {text!r} "
                    f"does not end in {suffix!r}."
                )
            target[rows] = text if text == suffix else text.removesuffix(f" {suffix}")
            kind[rows] = suffix
        return cls(target, kind)

    @property
    def is_control(self) -> NDArray[np.bool_]:
        """Which cells are controls: those whose class is their global class."""
        return np.asarray((self.target == self.kind) & (self.kind != None), dtype=bool)  # noqa: E711
