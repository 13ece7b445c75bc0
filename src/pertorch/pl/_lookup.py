"""Names that a caller gives, or an error that says which are near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pertorch.data import nearest

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from anndata import AnnData


def known_name(name: Hashable, argument: str, known: Iterable[Hashable]) -> None:
    """Refuse a name that there is not.

    Raises
    ------
    ValueError
        The message names the nearest.
    """
    names = list(known)
    if name not in names:
        raise ValueError(f"{argument}={name!r} is not there: {nearest(name, names)}")


def var_positions(adata: AnnData, names: Sequence[str], kind: str) -> NDArray[np.int64]:
    """Columns of the named genes or guides, the first of each name.

    Raises
    ------
    KeyError
        The message names the nearest.
    """
    for name in names:
        if name not in adata.var_names:
            raise KeyError(f"{kind} {name!r} not found in adata.var_names: {nearest(name, adata.var_names)}")
    return np.array([adata.var_names.get_indexer_for([name])[0] for name in names], dtype=np.int64)
