"""Where in an AnnData a matrix lies, and whether it takes another one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pertorch.data._names import nearest
from pertorch.data._storage import FilePart, lies_in_file, reading

if TYPE_CHECKING:
    from anndata import AnnData


def expression(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """A layer, or ``adata.X`` for ``"X"`` and ``None``, and what to call it in messages.

    Raises
    ------
    KeyError
        If there is no such layer.
    """
    if layer is None or (layer == "X" and "X" not in adata.layers):
        with reading(adata.filename, "X") if adata.isbacked else nullcontext():
            return _unread(adata, lambda one: one.X), "X"
    _check_key(adata.layers, layer, "layers", ["X"])
    return _unread(adata, lambda one: one.layers[layer]), f"layers[{layer!r}]"


def embedding(adata: AnnData, key: str) -> tuple[Any, str]:
    """A matrix of ``adata.obsm``, and what to call it in messages.

    Raises
    ------
    KeyError
        If there is no such key.
    """
    _check_key(adata.obsm, key, "obsm", [])
    return _unread(adata, lambda one: one.obsm[key], all_columns=True), f"obsm[{key!r}]"


def check_one_source(layer_key: str | None, obsm_key: str | None) -> None:
    """Refuse two answers to the question where the cells' features are.

    Raises
    ------
    ValueError
        If both are given.
    """
    if layer_key is not None and obsm_key is not None:
        raise ValueError(f"layer_key={layer_key!r} and obsm_key={obsm_key!r} exclude each other: give one of them.")


def check_writable(adata: AnnData) -> None:
    """Refuse, before any work, an AnnData that could not take the result.

    Raises
    ------
    ValueError
        If it is a view of a backed file.
    """
    if getattr(adata, "isbacked", False) and getattr(adata, "is_view", False):
        raise ValueError(
            "adata is a view of a backed file, to which AnnData cannot write: pass adata.to_memory() or the whole file."
        )


def _check_key(mapping: Any, key: str, attribute: str, also: list[str]) -> None:
    if key not in mapping:
        hint = " Compute it, for instance with scanpy.pp.pca(adata)." if key == "X_pca" else ""
        raise KeyError(f"{attribute} key {key!r} not found: {nearest(key, [*mapping.keys(), *also])}{hint}")


def _unread(adata: AnnData, get: Callable[[AnnData], Any], *, all_columns: bool = False) -> Any:
    """What `get` gives; of a view of a file which part of it that is, all of which AnnData would read to give it."""
    parent = getattr(adata, "_adata_ref", None)  # never itself a view
    if parent is None or not lies_in_file(whole := get(parent)):
        return get(adata)
    rows = _positions(adata._oidx, parent.n_obs)
    columns = None if all_columns else _positions(adata._vidx, parent.n_vars)
    same = columns is None or np.array_equal(columns, np.arange(parent.n_vars))
    return FilePart(whole, rows, None if same else columns)


def _positions(index: Any, length: int) -> NDArray[np.int64]:
    """Of a slice, a mask or an array of integers, or what anndata wraps these in."""
    return np.ascontiguousarray(np.arange(length)[index if isinstance(index, slice) else np.asarray(index)])
