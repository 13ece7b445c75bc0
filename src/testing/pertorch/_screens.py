"""Every way for an AnnData to hold a matrix: arrays in each slot, views, files, lazily opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from testing.pertorch._arrays import SLOTS, Storage, arrays

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class Stored(NamedTuple):
    """An AnnData, where in it the matrix lies, and the numbers that the matrix holds."""

    adata: AnnData
    slot: str
    key: str
    dense: NDArray[np.float64]

    @property
    def keys(self) -> dict[str, str]:
        """As ``Distance`` takes it: ``layer_key=`` or ``obsm_key=``."""
        return {"obsm_key": self.key} if self.slot == "obsm" else {"layer_key": self.key}


class Screen(NamedTuple):
    """One way for an AnnData to hold a matrix: ``make(values, obs, folder)``."""

    name: str
    make: Callable[[NDArray[np.float64], pd.DataFrame, Path], Stored]
    gpu: bool = False


def screens() -> Iterator[Screen]:
    """Ways for an AnnData to hold a matrix: each kind of array in each slot that takes it, views, and files."""
    for storage in arrays():
        for slot in SLOTS:
            if slot in storage.slots:
                yield Screen(f"{slot}-{storage.name}", _in_slot(storage, slot), storage.gpu)
    for name in ("float32", "csr_matrix", "dataframe"):
        storage = next(s for s in arrays() if s.name == name)
        for slot in SLOTS:
            if slot in storage.slots:
                yield Screen(f"view-{slot}-{name}", _view(storage, slot))
    for name in ("float64", "float32", "float16", "int32", "bool", "big-endian-float32", "csr_matrix", "csc_matrix"):
        storage = next(s for s in arrays() if s.name == name)
        for slot in SLOTS:
            yield Screen(f"backed-{slot}-{name}", _backed(storage, slot))
        yield Screen(f"view-of-backed-X-{name}", _backed(storage, "X", view=True))
    yield Screen("backed-X-gzip", _backed(next(arrays()), "X", compression="gzip"))
    for name in ("float32", "int32", "csr_matrix", "csc_matrix"):
        storage = next(s for s in arrays() if s.name == name)
        for slot in SLOTS:
            yield Screen(f"zarr-{slot}-{name}", _zarr(storage, slot, _opened))
        yield Screen(f"lazy-layers-{name}", _zarr(storage, "layers", _lazy))  # dask
        yield Screen(f"dask-X-{name}", _dask(storage, "X"))
    yield Screen("dask-obsm-float32", _dask(next(s for s in arrays() if s.name == "float32"), "obsm"))
    yield Screen("dask-layers-csr_array", _dask(next(s for s in arrays() if s.name == "csr_array-float64"), "layers"))


def _place(array: Any, slot: str, obs: pd.DataFrame) -> AnnData:
    from anndata import AnnData

    if slot == "X":
        return AnnData(array, obs=obs)
    adata = AnnData(np.zeros(array.shape, np.float32), obs=obs)
    getattr(adata, slot)["stored"] = array
    return adata


def _in_slot(storage: Storage, slot: str) -> Callable[..., Stored]:
    def make(values: NDArray[np.float64], obs: pd.DataFrame, folder: Path) -> Stored:  # noqa: ARG001 (a file's folder)
        array = storage.make(values)
        if storage.name == "dataframe":
            array.index = obs.index
        return Stored(_place(array, slot, obs), slot, "X" if slot == "X" else "stored", storage.dense(values))

    return make


def _view(storage: Storage, slot: str) -> Callable[..., Stored]:
    """Every second row of a twice as long AnnData, the rest of which holds other numbers."""

    def make(values: NDArray[np.float64], obs: pd.DataFrame, folder: Path) -> Stored:
        twice = obs.iloc[np.repeat(np.arange(len(obs)), 2)].copy()
        twice.index = [f"{name}-{i % 2}" for i, name in enumerate(twice.index)]
        longer = np.repeat(values, 2, axis=0)
        longer[1::2] = 1
        whole = _in_slot(storage, slot)(longer, twice, folder)
        return whole._replace(adata=whole.adata[::2], dense=storage.dense(values))

    return make


def _backed(storage: Storage, slot: str, *, view: bool = False, **options: Any) -> Callable[..., Stored]:
    def make(values: NDArray[np.float64], obs: pd.DataFrame, folder: Path) -> Stored:
        from anndata import read_h5ad

        stored = (_view if view else _in_slot)(storage, slot)(values, obs, folder)
        whole, file = stored.adata, folder / "screen.h5ad"
        if view:
            whole = whole._adata_ref
        whole.write_h5ad(file, **options)
        backed = read_h5ad(file, backed="r")
        return stored._replace(adata=backed[::2] if view else backed)

    return make


def _zarr(storage: Storage, slot: str, open_: Callable[[Any], Any]) -> Callable[..., Stored]:
    """An AnnData in memory whose matrix stays in a zarr store."""

    def make(values: NDArray[np.float64], obs: pd.DataFrame, folder: Path) -> Stored:
        import zarr
        from anndata.io import write_elem

        group = zarr.open_group(folder / "screen.zarr", mode="w", zarr_format=2)
        write_elem(group, "matrix", storage.make(values))
        key = "X" if slot == "X" else "stored"
        return Stored(_place(open_(group["matrix"]), slot, obs), slot, key, storage.dense(values))

    return make


def _opened(element: Any) -> Any:
    from anndata.io import sparse_dataset

    return sparse_dataset(element) if hasattr(element, "keys") else element


def _lazy(element: Any) -> Any:
    from anndata.experimental import read_elem_lazy

    return read_elem_lazy(element)


def _dask(storage: Storage, slot: str) -> Callable[..., Stored]:
    """Chunks of some rows."""

    def make(values: NDArray[np.float64], obs: pd.DataFrame, folder: Path) -> Stored:  # noqa: ARG001 (a file's folder)
        from dask.array import concatenate, from_array

        array, step = storage.make(values), -(-len(values) // 3)
        parts = [array[start : start + step] for start in range(0, len(values), step)]
        chunks = [from_array(part, chunks=part.shape, asarray=False) for part in parts]
        key = "X" if slot == "X" else "stored"
        return Stored(_place(concatenate(chunks), slot, obs), slot, key, storage.dense(values))

    return make
