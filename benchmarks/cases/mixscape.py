"""Mixscape on log-normalised expression with planted responders, a quarter of it non-zero; a tenth are controls."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse as sp
import torch

from benchmarks._registry import Work, case
from pertorch import Mixscape

SIZES = [(5_000, 1_000, 10), (20_000, 5_000, 50)]
GPU_SIZES = [(60_000, 5_000, 200)]
TARGET, CONTROL = "target", "NT"
ROWS = 2_500  # cells made at once, from a stream of their own
GPU_RATE = 0.2  # 9 % of the entries are not zero

Result = Callable[[ad.AnnData], Any]


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

    def make(both: tuple[int, np.random.Generator]) -> sp.csr_matrix:
        start, own = both
        rows = slice(start, min(start + ROWS, n_cells))
        mean = base * np.exp(np.where(responds[rows, None], changes[codes[rows]], 0))
        counts = own.poisson(mean * own.lognormal(0, 0.3, (len(mean), 1)))
        scaled = counts * (1e4 / np.maximum(counts.sum(1, keepdims=True), 1))
        return sp.csr_matrix(np.log1p(scaled).astype(np.float32))

    starts = range(0, n_cells, ROWS)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        X = sp.vstack(list(pool.map(make, zip(starts, rng.spawn(len(starts)), strict=True))), format="csr")
    space = X @ rng.standard_normal((n_genes, 50)).astype(np.float32)
    return screen_of(X, codes, n_targets, space, replicate=rng.choice(["a", "b"], n_cells))


def screen_of(X: Any, codes: Any, n_targets: int, space: Any, **columns: Any) -> ad.AnnData:
    """Named and labelled; code 0 is the control."""
    names = [CONTROL, *(f"gene{i}" for i in range(1, n_targets + 1))]
    obs = pd.DataFrame(
        {TARGET: pd.Categorical.from_codes(codes, names), **columns}, index=np.arange(X.shape[0]).astype(str)
    )
    var = pd.DataFrame(index=[f"feature{i}" for i in range(X.shape[1])])
    return ad.AnnData(X, obs=obs, var=var, obsm={"X_pca": space})


def on_its_own(adata: ad.AnnData, tool: Any, method: str, result: Result, **options: Any) -> Callable[[], Any]:
    """A method on an object of its own around the same arrays."""
    fields = ("obs", "var", "uns", "obsm", "layers", "obsp")
    own = ad.AnnData(adata.X, **{field: getattr(adata, field).copy() for field in fields[:2]})
    for field in fields[2:]:
        getattr(own, field).update(getattr(adata, field))

    def run() -> Any:
        getattr(tool, method)(own, TARGET, CONTROL, **options)
        return result(own)

    return run


def beside_pertpy(adata: ad.AnnData, name: str, method: str, result: Result, **more: Any) -> Work:
    """A method of ours and of pertpy's class `name`."""

    def pertpy() -> Callable[[], Any]:
        import pertpy
        import scanpy

        scanpy.settings.n_jobs = 2
        return on_its_own(adata, getattr(pertpy.tl, name)(), method, result)

    return Work(on_its_own(adata, Mixscape(), method, result), pertpy, "pertpy", **more)


def beside_rapids(adata: ad.AnnData, method: str, result: Result, peer_adata: Any = None, **more: Any) -> Work:
    """A method of ours, whose layers lie on the host, and of rapids_singlecell, whose layers lie on the GPU."""
    options = more.pop("options", {})

    def rapids() -> Callable[[], Any]:
        from rapids_singlecell import ptg

        theirs = peer_adata() if peer_adata else adata
        return on_its_own(
            theirs, getattr(ptg, "Mixscale" if method == "mixscale" else "Mixscape")(), method, result, **options
        )

    return Work(on_its_own(adata, Mixscape(), method, result, **options), rapids, "rapids-singlecell-cu13", **more)


def with_signature(*size: int, rate: float = 0.9, **options: Any) -> ad.AnnData:
    """A screen and its signature."""
    adata = expression_screen(*size, rate=rate)
    Mixscape().perturbation_signature(adata, TARGET, CONTROL, **options)
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


def _layer_on_the_gpu(adata: ad.AnnData) -> ad.AnnData:
    """As the peer leaves and wants it."""
    import cupy

    theirs = ad.AnnData(adata.X, obs=adata.obs.copy(), var=adata.var.copy())
    theirs.layers["X_pert"] = cupy.asarray(adata.layers["X_pert"])
    return theirs


@case("mixscape_signature_gpu", sizes=GPU_SIZES, device="cuda")
def mixscape_signature_gpu(*size: int) -> Work:
    """20 nearest controls of the same replicate. Ours ends in host memory, the peer's on the GPU."""
    adata = expression_screen(*size, rate=GPU_RATE)
    return beside_rapids(
        adata, "perturbation_signature", lambda a: a.layers["X_pert"], options={"split_by": "replicate"}
    )


@case("mixscape_classes_gpu", sizes=GPU_SIZES, device="cuda")
def mixscape_classes_gpu(*size: int) -> Work:
    """Classes from a layer: ours on the host, the peer's on the GPU. The difference is the share in another class."""
    adata = with_signature(*size, rate=GPU_RATE, split_by="replicate")
    return beside_rapids(
        adata, "mixscape", lambda a: a.obs["mixscape_class"], lambda: _layer_on_the_gpu(adata), difference=_disagreement
    )


@case("mixscape_mixscale_gpu", sizes=GPU_SIZES, device="cuda")
def mixscape_mixscale_gpu(*size: int) -> Work:
    """Scores from a layer: ours on the host, the peer's on the GPU."""
    adata = with_signature(*size, rate=GPU_RATE, split_by="replicate")
    return beside_rapids(adata, "mixscale", lambda a: a.obs["mixscale_score"], lambda: _layer_on_the_gpu(adata))


@case("mixscape_lda_gpu", sizes=GPU_SIZES, device="cuda")
def mixscape_lda_gpu(*size: int) -> Work:
    """Discriminants of the perturbed cells. The peer finds principal axes through cuML."""
    adata = with_signature(*size, rate=GPU_RATE, split_by="replicate")
    Mixscape().mixscape(adata, TARGET, CONTROL, store_projections=False)
    return Work(on_its_own(adata, Mixscape(), "lda", lambda a: a.uns["mixscape_lda"]))


@case("mixscape_large_gpu", sizes=[(1_000_000, 8_000, 2_000, 50_000)], device="cuda")
def mixscape_large_gpu(n_cells: int, n_genes: int, n_targets: int, n_controls: int) -> Work:
    """Signature, never made whole, and classes. The peer would hold the signature: 32 GB, several times over."""
    adata = large_screen(n_cells, n_genes, n_targets, n_controls)

    def run() -> Any:
        tool = Mixscape()
        tool.perturbation_signature(adata, TARGET, CONTROL, materialize=False)
        tool.mixscape(adata, TARGET, CONTROL, store_projections=False)
        return adata.obs["mixscape_class"]

    return Work(run)


def large_screen(n_cells: int, n_genes: int, n_targets: int, n_controls: int, density: float = 0.08) -> ad.AnnData:
    """As :func:`expression_screen`, with so many controls, drawn on the GPU: numpy would take minutes."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.zeros(n_controls, np.int64), rng.integers(1, n_targets + 1, n_cells - n_controls)])
    rng.shuffle(codes)
    gpu = torch.device("cuda")
    generator = torch.Generator(gpu).manual_seed(0)
    base = torch.from_numpy(rng.gamma(0.5, 2.2 * density, n_genes)).to(gpu, torch.float32)
    changes = np.zeros((n_targets + 1, n_genes), np.float32)
    for target in range(1, n_targets + 1):
        changes[target, rng.choice(n_genes, 40, replace=False)] = rng.normal(0, 1.2, 40)
    there, labels = torch.from_numpy(changes).to(gpu), torch.from_numpy(codes).to(gpu)
    parts, projection = [], torch.randn(n_genes, 50, generator=generator, device=gpu)
    space = np.empty((n_cells, 50), np.float32)
    for start in range(0, n_cells, 20_000):
        own = labels[start : start + 20_000]
        responds = (torch.rand(len(own), 1, generator=generator, device=gpu) < 0.7) & (own > 0)[:, None]
        depth = torch.exp(0.3 * torch.randn(len(own), 1, generator=generator, device=gpu))
        counts = torch.poisson(base * torch.exp(there[own] * responds) * depth, generator=generator)
        values = (counts * (1e4 / counts.sum(1, keepdim=True).clamp(min=1))).log1p_()
        space[start : start + 20_000] = (values @ projection).cpu().numpy()
        filled = values > 0
        indptr = torch.nn.functional.pad(filled.sum(1).cumsum(0), (1, 0))
        stored = (values[filled], torch.nonzero(filled)[:, 1].int(), indptr)
        parts.append(sp.csr_matrix(tuple(part.cpu().numpy() for part in stored), shape=values.shape))
    X = sp.vstack(parts, format="csr")
    del parts, values, filled, counts, there, stored
    torch.cuda.empty_cache()
    return screen_of(X, codes, n_targets, space)
