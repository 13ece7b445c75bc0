"""Nothing in the caller's AnnData changes unless the call says so."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def unchanged(adata: AnnData) -> Iterator[None]:
    """Assert that the block leaves `adata` as it was, down to the arrays inside sparse matrices, error or not."""
    before = copy.deepcopy(_parts(adata))
    try:
        yield
    finally:
        after = _parts(adata)
        assert before.keys() == after.keys(), f"keys changed: {sorted(before.keys() ^ after.keys())}"
        for name, was in before.items():
            assert _same(was, after[name]), f"{name} changed"


def _parts(adata: AnnData) -> dict[str, Any]:
    parts = {"obs": adata.obs, "var": adata.var, "X": adata.X, "uns": dict(adata.uns), "view": adata.is_view}
    for attribute in ("layers", "obsm", "varm", "obsp", "varp"):
        parts |= {f"{attribute}[{key!r}]": value for key, value in getattr(adata, attribute).items()}
    return parts


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if hasattr(a, "equals"):
        return bool(a.equals(b)) and list(a.columns) == list(b.columns) and (a.dtypes == b.dtypes).all()
    if hasattr(a, "indptr"):
        return all(_same(getattr(a, part), getattr(b, part)) for part in ("data", "indices", "indptr"))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    return bool(a == b)
