"""Files in and out: checked before the work that they would waste."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pertorch.cli._console import CliError

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def opened(path: str) -> Iterator[AnnData]:
    """An h5ad file, backed: X stays on disk until something reads it.

    Raises
    ------
    CliError
        If there is no such file, it is no h5ad, it is damaged, or it holds no cells.
    """
    import h5py

    if not Path(path).is_file():
        raise CliError(f"{path} is {'a directory' if Path(path).is_dir() else 'not there'}: give an h5ad file.")
    if not h5py.is_hdf5(path):
        raise CliError(f"{path} is not an h5ad file: write one with adata.write_h5ad().")
    adata = _read(path)
    try:
        if 0 in adata.shape:
            raise CliError(f"{path} holds {adata.n_obs} cells × {adata.n_vars} features: there is nothing to compute.")
        yield adata
    finally:
        adata.file.close()


def _read(path: str) -> AnnData:
    import anndata
    import h5py

    try:
        with h5py.File(path) as file:
            if "obs" not in file or "var" not in file:
                raise CliError(f"{path} is HDF5 but not h5ad, without obs and var: write one with adata.write_h5ad().")
            has_x = "X" in file
        return anndata.read_h5ad(path, backed="r" if has_x else None)
    except PermissionError:
        raise CliError(f"{path} may not be read: ask for permission.") from None
    except Exception as error:  # whatever a damaged file makes the readers raise
        if isinstance(error, CliError):
            raise
        raise CliError(f"{path} is damaged or cut short: copy it again ({_first_line(error)}).") from error


def check_output(path: str | None, suffixes: Sequence[str], option: str = "--out") -> None:
    """See that a file can be written before computing what goes into it.

    Raises
    ------
    CliError
        If the name has another suffix, or the place is not one that can be written to.
    """
    if path is None:
        return
    if Path(path).suffix not in suffixes:
        raise CliError(f"{option} {path} does not end in {' or '.join(suffixes)}: that says what to write.")
    if Path(path).is_dir():
        raise CliError(f"{option} {path} is a directory: give a file.")
    try:
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise CliError(f"{option} {path} cannot be written: {error.strerror}.") from None


def write(path: str | Path, writer: Callable[[Path], object]) -> None:
    """Write beside the target, then move into place: an interrupted run leaves no half file."""
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        part = Path(folder) / target.name
        writer(part)
        part.replace(target)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
