"""A signature in a file of its own: a valid AnnData whose ``X`` it is, whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

if TYPE_CHECKING:
    from anndata import AnnData

SUFFIXES = (".h5ad", ".zarr")
CHUNK_BYTES = 2**22  # of a dense zarr store: a slab ends within one, which is then written twice
CHUNK_ENTRIES = 2**18  # of a sparse one
SPARE_BYTES = 2**22  # that a file takes beside its values, and before it takes them


def check_path(out: str | os.PathLike[str]) -> Path:
    """Where a store may be written.

    Raises
    ------
    ValueError
        If the name says neither HDF5 nor zarr.
    FileExistsError
        If there is something already.
    FileNotFoundError
        If its folder does not exist.
    ImportError
        If zarr is not installed.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"out={str(out)!r} must end in {' or '.join(SUFFIXES)}.")
    if path.exists():
        raise FileExistsError(f"out={str(out)!r} exists already: remove it, or name another.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"out={str(out)!r}: there is no folder {str(path.absolute().parent)!r}.")
    if path.suffix == ".zarr":
        _zarr()
    return path.absolute()


@final
class Store:
    """Takes slabs of a signature of `adata` and writes them.

    Parameters
    ----------
    root
        An open group of h5py or zarr, empty.
    folder
        Where it lies.
    adata
        Whose names of cells and genes go with it.
    """

    def __init__(self, root: Any, folder: Path, adata: AnnData) -> None:
        self._root, self._folder, self._names = root, folder, (adata.obs_names, adata.var_names)
        self._x: Any = None

    def begin(self, dtype: torch.dtype, *, sparse: bool) -> None:
        """Lay it out."""
        from anndata import AnnData, settings
        from anndata.io import sparse_dataset, write_elem

        obs, var = (pd.DataFrame(index=names) for names in self._names)
        (n, p), kind = (len(obs), len(var)), "f8" if dtype == torch.float64 else "f4"
        with settings.override(auto_shard_zarr_v3=False):  # shards would be written anew with each slab
            write_elem(self._root, "/", AnnData(obs=obs, var=var))
            if sparse:
                empty = sp.csr_matrix((0, p), dtype=kind)
                empty.indptr = empty.indptr.astype(np.int64)
                write_elem(self._root, "X", empty, dataset_kwargs={"chunks": (CHUNK_ENTRIES,)})
                self._x = sparse_dataset(self._root["X"])
                return
        if hasattr(self._root, "create_array"):
            chunks = (max(1, min(n, CHUNK_BYTES // max(1, p * dtype.itemsize))), p)
            self._x = self._root.create_array("X", shape=(n, p), dtype=kind, chunks=chunks)
        else:
            self._check_space(n * p * dtype.itemsize + SPARE_BYTES)
            self._x = self._root.create_dataset("X", shape=(n, p), dtype=kind)
        self._x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def _check_space(self, nbytes: int) -> None:
        """Refuse what the disk cannot take: HDF5 cannot even close a file that it could not write."""
        free = shutil.disk_usage(self._folder).free
        if nbytes > free:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {nbytes} bytes are needed, {free} are free")

    def put(self, cells: slice, genes: slice, block: Any) -> None:
        """Write a dense block, or the next rows as CSR."""
        parts = (block.data, block.indices, block.indptr) if sp.issparse(block) else (block,)
        self._check_space(sum(part.nbytes for part in parts) + SPARE_BYTES)
        if sp.issparse(block):
            self._x.append(sp.csr_matrix(block))
        else:
            self._x[cells, genes] = block


@contextmanager
def new_store(path: Path, adata: AnnData) -> Iterator[Store]:
    """A store that has its name once the block has ended well, and leaves nothing where it has not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    root = _open(part, "w", path.suffix)
    try:
        yield Store(root, path.parent, adata)
        _close(root)
        part.replace(path)
    except BaseException as error:
        with suppress(OSError, RuntimeError):  # of a disk that is full, which closing finds once more
            _close(root)
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            text = f"the signature could not be written to {path} ({error}), and nothing is left there"
            raise OSError(error.errno, text) from error
        raise


def open_store(path: Path) -> Any:
    """What was written, to be read as it is needed: an array of h5py or zarr, or anndata's sparse dataset."""
    from anndata.io import sparse_dataset

    x = _open(path, "r", path.suffix)["X"]
    return x if hasattr(x, "dtype") else sparse_dataset(x)


def _open(path: Path, mode: Any, suffix: str) -> Any:
    if suffix == ".zarr":
        return _zarr().open_group(str(path), mode=mode)
    import h5py

    return h5py.File(path, mode)


def _close(root: Any) -> None:
    if hasattr(root, "close"):
        root.close()


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise ImportError("a .zarr store needs zarr: pip install zarr, or name an .h5ad file.") from None
    return zarr
