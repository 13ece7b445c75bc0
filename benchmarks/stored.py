"""Screens on disk, written slab by slab, and the calls that are measured on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import sparse_dataset, write_elem
from numpy.typing import NDArray

import pertorch

TARGET, CONTROL = "gene", "g0"
N_GENES, DENSITY, CHANGED = 5_000, 0.05, 40
EMBEDDED, EXPRESSED = 100_000, 2_000  # cells written at once


class Stored(NamedTuple):
    """Files that a screen of so many cells and groups is written to, and what is called on each of them."""

    write: Callable[[Path, int, int], None]
    calls: dict[str, Callable[[ad.AnnData], Any]]


def _labels(n: int, k: int) -> tuple[NDArray[np.int64], pd.DataFrame]:
    codes = np.random.default_rng(0).permutation(np.arange(n) % k)
    names = pd.Categorical.from_codes(codes, [f"g{i}" for i in range(k)])
    return codes, pd.DataFrame({TARGET: names}, index=pd.RangeIndex(n).astype(str))


def write_embedding(file: Path, n: int, k: int) -> None:
    """Normal groups in 50 dimensions whose means differ, scattered over a contiguous float32 matrix."""
    rng, (codes, obs) = np.random.default_rng(1), _labels(n, k)
    shift = rng.normal(0, 0.3, (k, 50)).astype(np.float32)
    ad.AnnData(obs=obs).write_h5ad(file)
    with h5py.File(file, "a") as stored:
        _replace(stored, "var", pd.DataFrame(index=pd.RangeIndex(50).astype(str)))
        stored.pop("X", None)
        x = stored.create_dataset("X", (n, 50), dtype=np.float32)
        x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for start in range(0, n, EMBEDDED):
            mine = codes[start : start + EMBEDDED]
            x[start : start + EMBEDDED] = rng.standard_normal((len(mine), 50), dtype=np.float32) + shift[mine]


def write_expression(file: Path, n: int, k: int) -> None:
    """Log-normalised expression, CSR, a twentieth of it stored; 40 genes of each target fall in 70 % of its cells."""
    rng, (codes, obs) = np.random.default_rng(2), _labels(n, k)
    present = np.minimum(rng.gamma(0.5, 2 * DENSITY, N_GENES), 0.9)
    genes = np.argsort(-present)[:400]
    effect = np.ones((k, N_GENES), dtype=np.float32)
    for g in range(1, k):
        effect[g, rng.choice(genes, CHANGED, replace=False)] = 0.3
    space = rng.standard_normal((n, 15), dtype=np.float32)

    def slabs() -> Iterator[sp.csr_matrix]:
        for start in range(0, n, EXPRESSED):
            mine = codes[start : start + EXPRESSED]
            held = rng.random((len(mine), N_GENES), dtype=np.float32) < present
            rows, columns = np.nonzero(held)
            responds = rng.random(len(mine)) < 0.7
            scale = np.where(responds[rows], effect[mine[rows], columns], 1)
            values = (rng.gamma(4, 0.5, len(rows)) * scale).astype(np.float32)
            yield sp.csr_matrix((values, (rows, columns)), shape=held.shape)

    _write_csr(file, obs, slabs(), {"X_pca": space})


def write_guides(file: Path, n: int, k: int) -> None:
    """Counts of two guides a group: one in each cell, and some of others around it."""
    rng, (codes, obs) = np.random.default_rng(3), _labels(n, k)

    def slabs() -> Iterator[sp.csr_matrix]:
        for start in range(0, n, EMBEDDED):
            mine = codes[start : start + EMBEDDED]
            others = sp.random(len(mine), 2 * k, 0.005, format="csr", random_state=rng, data_rvs=lambda m: np.ones(m))
            own = 2 * mine + rng.integers(0, 2, len(mine))
            counts = others + sp.csr_matrix((1 + rng.poisson(40, len(mine)), (np.arange(len(mine)), own)), others.shape)
            yield sp.csr_matrix(counts.astype(np.float32))

    _write_csr(file, obs, slabs(), {})


def _write_csr(file: Path, obs: pd.DataFrame, slabs: Iterator[sp.csr_matrix], obsm: dict[str, Any]) -> None:
    first = next(slabs)
    ad.AnnData(obs=obs, obsm=obsm).write_h5ad(file)
    with h5py.File(file, "a") as stored:
        _replace(stored, "var", pd.DataFrame(index=pd.RangeIndex(first.shape[1]).astype(str)))
        _replace(stored, "X", first)
        x = sparse_dataset(stored["X"])
        for slab in slabs:
            x.append(slab)


def _replace(stored: h5py.File, key: str, value: Any) -> None:
    stored.pop(key, None)
    write_elem(stored, key, value)


def bootstrap(adata: ad.AnnData) -> Any:
    """E-distances to one group, with 100 bootstraps."""
    distance = pertorch.Distance("edistance", layer_key="X")
    return pd.concat(distance.onesided_distances(adata, TARGET, CONTROL, bootstrap=True, n_bootstrap=100))


def markers(adata: ad.AnnData) -> Any:
    """Every target against the controls."""
    return pertorch.perturbation_markers(adata, TARGET, CONTROL)["score"]


def mixscape(adata: ad.AnnData) -> Any:
    """Signature, left implicit, and classes."""
    tool = pertorch.Mixscape()
    tool.perturbation_signature(adata, TARGET, CONTROL, materialize=False)
    tool.mixscape(adata, TARGET, CONTROL)
    return adata.obs["mixscape_class_p_ko"]


def guides(adata: ad.AnnData) -> Any:
    """Calls of the mixture."""
    found = pertorch.GuideAssignment().assign_mixture_model(adata, only_return_results=True)
    return pd.Series(found).astype("category").cat.codes


STORED = {
    "embedding": Stored(write_embedding, {"distance_onesided_bootstrap": bootstrap}),
    "expression": Stored(write_expression, {"perturbation_markers": markers, "mixscape": mixscape}),
    "guides": Stored(write_guides, {"guides_mixture": guides}),
}
SIZES = {"embedding": (2_000_000, 2_000), "expression": (300_000, 300), "guides": (300_000, 300)}
