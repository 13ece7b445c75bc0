"""Files in and out: checked before the work that they would waste."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pertorch.cli._console import CliError
from pertorch.cli._formats import Part, read_content

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def opened(path: str, part: Part = "genes") -> Iterator[AnnData]:
    """One part of an h5ad, h5mu or Cell Ranger file. An h5ad is backed: X stays on disk until something reads it.

    Raises
    ------
    CliError
        If there is no such file, it is of another kind, it is damaged, or it holds no such part, or no cells.
    """
    adata = read_content(path).part(part, path)
    try:
        check_not_empty(adata, path)
        yield adata
    finally:
        adata.file.close()


def check_not_empty(adata: AnnData, path: str) -> None:
    """See that there is something to compute on.

    Raises
    ------
    CliError
        If there are no cells, or no features.
    """
    if 0 in adata.shape:
        raise CliError(f"{path} holds {adata.n_obs} cells × {adata.n_vars} features: there is nothing to compute.")


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
    write_together(target.parent, {target.name: writer})


def write_together(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files to a place of their own, and move them into `folder` when all are whole, in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pertorch.") as parts:
        for name, writer in writers.items():
            try:
                writer(Path(parts) / name)
            except OSError as error:
                why = error.strerror or error
                raise CliError(f"{folder / name} cannot be written ({why}), and nothing is left there.") from error
        for name in writers:
            (Path(parts) / name).replace(folder / name)


def h5ad_writer(adata: AnnData) -> Callable[[Path], None]:
    """What writes it as h5ad, texts that may be missing too: anndata writes them only when told to, and reads them."""
    import anndata

    def writer(path: Path) -> None:
        _reserve(path, sys.getsizeof(adata))
        with anndata.settings.override(allow_write_nullable_strings=True):
            adata.write_h5ad(path)

    return writer


def _reserve(path: Path, nbytes: int) -> None:
    """Find out that the disk is full before HDF5 does, which crashes when it closes a file that it could not write."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, nbytes)


def check_folder(path: str, option: str = "--out") -> Path:
    """See that files can be written to a directory, or that it can be made, before computing what goes into it.

    Raises
    ------
    CliError
        If there is a file of that name, or the place is not one that can be written to.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise CliError(f"{option} {path} cannot be made a directory: there is a file of that name.")
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise CliError(f"{option} {path} cannot be written to: {error.strerror}.") from None
    return folder
