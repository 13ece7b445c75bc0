"""Measured screens from where they are published, kept in a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pertorch._settings import settings
from pertorch.data import nearest
from pertorch.ds._catalogue import CATALOGUE, COLLECTION, LICENCE, Dataset

if TYPE_CHECKING:
    from anndata import AnnData

ATTEMPTS = 4
VARIABLE = "PERTORCH_DATASETS"


def list_datasets() -> pd.DataFrame:
    """Measured screens that :func:`load_dataset` knows.

    All come from scPerturb (Peidli et al. 2024, doi:10.1038/s41592-023-02144-y), release 1.4, with counts in ``X`` and
    one schema in ``obs``: ``perturbation`` (``"control"`` for controls, where ``about`` says nothing else),
    ``perturbation_type``, ``nperts`` (how many in the cell), ``perturbation_2`` and ``perturbation_type_2`` where cells
    were also treated, ``celltype``, ``cell_line``, ``tissue_type``, ``disease``, ``organism``, ``ncounts``,
    ``ngenes``, ``percent_mito``, ``percent_ribo``; for drugs ``dose_value``.

    Returns
    -------
    By name: ``cells``, ``features`` (missing where it is not known without the file), ``about``, ``paper``, ``doi``,
    ``licence`` and ``collection`` (of the file), ``url``, ``md5``.

    Examples
    --------
    >>> from pertorch import ds
    >>> int(ds.list_datasets().loc["papalexi_2021_rna", "cells"])
    20729
    """
    table = pd.DataFrame([d._asdict() | {"url": d.url} for d in CATALOGUE.values()]).set_index("name")
    table["features"] = table["features"].astype("Int64")
    table["licence"], table["collection"] = LICENCE, COLLECTION
    return table[["cells", "features", "about", "paper", "doi", "licence", "collection", "url", "md5"]]


def fetch_dataset(name: str, *, cache: str | Path | None = None) -> Path:
    """Fetch the file of a dataset, once: what is in the cache and has the right checksum is not fetched again.

    A file appears in the cache when it is whole and its checksum is right: an interrupted call leaves nothing there. A
    connection that breaks is tried again, four times in all.

    Parameters
    ----------
    name
        One of :func:`list_datasets`.
    cache
        Directory. ``None``: that of the environment variable ``PERTORCH_DATASETS``, else the user's cache.

    Returns
    -------
    Path of the h5ad file.

    Raises
    ------
    ValueError
        If there is no such dataset, or what was fetched does not have the right checksum.
    ConnectionError
        If it cannot be fetched; the message says from where and how to put it in place by hand.
    ImportError
        If pooch is not installed.
    """
    if name not in CATALOGUE:
        raise ValueError(f"dataset {name!r} is not one of ds.list_datasets(): {nearest(name, CATALOGUE)}")
    return _fetch(CATALOGUE[name], cache)


def load_dataset(name: str, *, cache: str | Path | None = None, **options: Any) -> AnnData:
    """A measured screen by its name: fetched the first time, read from the cache afterwards.

    Parameters
    ----------
    name, cache
        As for :func:`fetch_dataset`.
    **options
        Of ``anndata.read_h5ad``, such as ``backed="r"`` for what memory does not hold.

    Raises
    ------
    ValueError, ConnectionError, ImportError
        As :func:`fetch_dataset`.
    """
    import anndata

    return anndata.read_h5ad(fetch_dataset(name, cache=cache), **options)


def _fetch(dataset: Dataset, cache: str | Path | None) -> Path:
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ImportError("datasets need pooch: pip install pertorch[datasets]") from error
    folder = pooch.os_cache("pertorch") if cache is None else Path(cache)
    store = pooch.create(
        path=folder,
        base_url="",
        registry={dataset.file: f"md5:{dataset.md5}"},
        urls={dataset.file: dataset.url},
        env=None if cache is not None else VARIABLE,
        retry_if_failed=ATTEMPTS - 1,
    )
    try:
        found = store.fetch(dataset.file, downloader=pooch.HTTPDownloader(progressbar=settings.progress))
    except requests.RequestException as error:
        raise ConnectionError(
            f"dataset {dataset.name!r} could not be fetched ({_reason(error)}). Try again, or fetch {dataset.url} "
            f"yourself and save it as {Path(store.path) / dataset.file}."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"dataset {dataset.name!r}: what {dataset.url} sends does not have the checksum md5:{dataset.md5}, in "
            f"{ATTEMPTS} attempts. It is not kept. Try again later, or from another network."
        ) from error
    return Path(found)


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return text if len(text) < 120 else type(error).__name__
