"""Errors that name what was asked for and what there is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def nearest(name: Hashable, known: Iterable[Hashable], most: int = 5) -> str:
    """The tail of an error message: the names closest to `name`, else the first few there are.

    Examples
    --------
    >>> nearest("STAT11", ["STAT1", "JAK2"])
    "did you mean 'STAT1'?"
    >>> nearest("x", ["STAT1", "JAK2"])
    "there are: 'STAT1', 'JAK2'."
    """
    texts = {str(k): k for k in known}
    close = get_close_matches(str(name), texts, n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(repr(texts[c]) for c in close)}?"
    if not texts:
        return "there are none."
    shown = ", ".join(repr(k) for k in list(texts.values())[:most])
    return f"there are: {shown}{f' and {len(texts) - most} more' if len(texts) > most else ''}."


def obs_column(adata: AnnData, key: str) -> pd.Series:
    """A column of ``adata.obs``.

    Raises
    ------
    KeyError
        If there is no such column; the message names the nearest ones.
    """
    if key not in adata.obs.columns:
        raise KeyError(f"obs column {key!r} not found: {nearest(key, adata.obs.columns)}")
    lazy = hasattr(adata.obs, "to_memory")  # of anndata.experimental.read_lazy
    return adata.obs[[key]].to_memory()[key] if lazy else adata.obs[key]
