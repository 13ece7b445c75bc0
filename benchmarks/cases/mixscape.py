"""Mixscape on log-normalised expression with planted responders, a quarter of it non-zero; a tenth are controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse as sp

from benchmarks._registry import Work, case
from pertorch import Mixscape

SIZES = [(5_000, 1_000, 10), (20_000, 5_000, 50)]
TARGET, CONTROL = "target", "NT"
ROWS = 5_000  # cells made at once


def expression_screen(n_cells: int, n_genes: int, n_targets: int, rate: float = 0.9, seed: int = 0) -> ad.AnnData:
    """Poisson counts at gamma rates, log-normalised, CSR; 40 genes of each target change in 70 % of its cells.

    The embedding, which only has to say who is near, is a random projection.
    """
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random(n_cells) < 0.1, 0, rng.integers(1, n_targets + 1, n_cells))
    base = rng.gamma(0.5, rate, n_genes)
    changes = np.zeros((n_targets + 1, n_genes))
    for target in range(1, n_targets + 1):
        changes[target, rng.choice(n_genes, 40, replace=False)] = rng.normal(0, 1.2, 40)
    responds = (rng.random(n_cells) < 0.7) & (codes > 0)
    parts = []
    for start in range(0, n_cells, ROWS):
        rows = slice(start, min(start + ROWS, n_cells))
        mean = base * np.exp(np.where(responds[rows, None], changes[codes[rows]], 0))
        counts = rng.poisson(mean * rng.lognormal(0, 0.3, (len(mean), 1)))
        scaled = counts * (1e4 / np.maximum(counts.sum(1, keepdims=True), 1))
        parts.append(sp.csr_matrix(np.log1p(scaled).astype(np.float32)))
    X = sp.vstack(parts, format="csr")
    names = [CONTROL, *(f"gene{i}" for i in range(1, n_targets + 1))]
    obs = pd.DataFrame({TARGET: pd.Categorical.from_codes(codes, names)}, index=np.arange(n_cells).astype(str))
    space = X @ rng.standard_normal((n_genes, 50)).astype(np.float32)
    return ad.AnnData(
        X, obs=obs, var=pd.DataFrame(index=[f"feature{i}" for i in range(n_genes)]), obsm={"X_pca": space}
    )


def beside_pertpy(adata: ad.AnnData, name: str, method: str, result: Callable[[ad.AnnData], Any], **more: Any) -> Work:
    """A method of ours and of pertpy's class `name`, each on an object of its own around the same arrays."""

    def call(tool: Any) -> Callable[[], Any]:
        own = (
            adata.copy()
            if adata.n_obs < ROWS
            else ad.AnnData(
                adata.X, obs=adata.obs.copy(), var=adata.var.copy(), obsm=dict(adata.obsm), layers=dict(adata.layers)
            )
        )

        def run() -> Any:
            getattr(tool, method)(own, TARGET, CONTROL)
            return result(own)

        return run

    def pertpy() -> Callable[[], Any]:
        import pertpy
        import scanpy

        scanpy.settings.n_jobs = 2
        return call(getattr(pertpy.tl, name)())

    return Work(call(Mixscape()), pertpy, "pertpy", **more)


def with_signature(*size: int) -> ad.AnnData:
    """A screen and its signature."""
    adata = expression_screen(*size)
    Mixscape().perturbation_signature(adata, TARGET, CONTROL)
    return adata


def _disagreement(ours: Any, peer: Any) -> float:
    return float((np.asarray(ours).astype(str) != np.asarray(peer).astype(str)).mean())


def _angle(ours: Any, peer: Any) -> float:
    return float(scipy.linalg.subspace_angles(ours, peer).max())


@case("mixscape_signature", sizes=SIZES)
def mixscape_signature(*size: int) -> Work:
    """20 nearest controls of every cell; pertpy's neighbours are approximate, so the numbers are not compared."""
    return beside_pertpy(expression_screen(*size), "Mixscape", "perturbation_signature", lambda a: a.layers["X_pert"])


@case("mixscape_classes", sizes=SIZES)
def mixscape_classes(*size: int) -> Work:
    """Markers, projections, mixtures. The difference is the share of cells in another class."""
    adata = with_signature(*size)
    return beside_pertpy(adata, "Mixscape", "mixscape", lambda a: a.obs["mixscape_class"], difference=_disagreement)


@case("mixscape_mixscale", sizes=SIZES)
def mixscape_mixscale(*size: int) -> Work:
    """Continuous scores."""
    return beside_pertpy(with_signature(*size), "Mixscale", "mixscale", lambda a: a.obs["mixscale_score"])


@case("mixscape_lda", sizes=SIZES)
def mixscape_lda(*size: int) -> Work:
    """Discriminants. The difference is the largest angle between the two embeddings."""
    adata = with_signature(*size)
    Mixscape().mixscape(adata, TARGET, CONTROL, store_projections=False)
    return beside_pertpy(adata, "Mixscape", "lda", lambda a: a.uns["mixscape_lda"], difference=_angle)
