"""``perturbation_signature``: which controls a cell is compared with, and the result in the AnnData."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final, get_args

import numpy as np
import scipy.sparse as sp
import torch

from pertorch.data import DEFAULT_EMBEDDING, Matrix, as_matrix, check_writable, nearest, open_matrix
from pertorch.exec import memory_budget, resolve_devices
from pertorch.ops.neighbors import check_backend, nearest_neighbors
from pertorch.solvers.pca import PCA, principal_components
from pertorch.tl import _materialize
from pertorch.tl._materialize import Output
from pertorch.tl._operator import LAYER, Neighbors, NeighborSignature, clear, split_signature, write_implicit
from pertorch.tl._screen import Screen, check_choice, check_least, target_of
from pertorch.tl._store import check_path, new_store, open_store
from pertorch.tl._stream import InMemory, stream

if TYPE_CHECKING:
    from anndata import AnnData

Mode = Literal["nn", "split_by"]
FEW_GENES = 50  # up to here the genes themselves are the representation
# How pynndescent searches, which pertpy passes through. An exact search has nothing to tune.
NNDESCENT = frozenset(
    (
        "epsilon",
        "random_state",
        "n_jobs",
        "n_trees",
        "n_iters",
        "n_search_trees",
        "leaf_size",
        "low_memory",
        "max_candidates",
        "delta",
        "verbose",
        "pruning_degree_multiplier",
        "diversify_prob",
        "tree_init",
        "init_graph",
        "init_dist",
        "compressed",
        "parallel_batch_queries",
    )
)


def perturbation_signature(
    adata: AnnData,
    pert_key: str,
    control: Any,
    *,
    ref_selection_mode: Mode = "nn",
    split_by: str | None = None,
    n_neighbors: int = 20,
    use_rep: str | None = None,
    n_dims: int | None = 15,
    n_pcs: int | None = None,
    knn_algorithm: str = "brute",
    knn_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    materialize: bool | None = None,
    output: Output = "auto",
    out: str | PathLike[str] | None = None,
    copy: bool = False,
    **nndescent: Any,
) -> AnnData | None:
    """Expression of the control cells most like a cell, less the cell's own (Papalexi et al. 2021).

    With ``ref_selection_mode="nn"`` a cell's signature is ``log1p(mean of expm1(x) over its nearest controls) − x``,
    with ``"split_by"`` it is ``mean of x over the controls of its split − x``: a gene that the perturbation raises is
    negative. Every cell gets one, the controls too (they are among their own neighbours).

    Parameters
    ----------
    adata
        Annotated data with log-normalised, unscaled expression in ``X`` (natural logarithm); integers are computed in
        float32.
    pert_key
        Column of ``adata.obs`` with the targets.
    control
        Label of the control cells in that column.
    ref_selection_mode
        ``"nn"`` or ``"split_by"``.
    split_by
        Column of ``adata.obs``, for instance the replicate: cells are compared with controls of their own split.
    n_neighbors
        Number of controls for ``"nn"``; a split that has fewer uses those it has.
    use_rep
        ``"X"`` or a key of ``adata.obsm``: where neighbours are near. ``None`` is ``X`` for at most 50 genes, else
        ``obsm["pca"]`` or ``obsm["X_pca"]``, which is computed, with a warning, where there is neither.
    n_dims
        Use the first so many dimensions of the representation (of ``X``: genes); ``None`` all.
    n_pcs
        Number of principal components to compute (default 50), or to use of those there are.
    knn_algorithm
        ``"brute"`` is exact. ``"ivfflat"``, ``"ivfpq"``, ``"cagra"`` are approximate: through faiss on a CPU, cuVS on
        a GPU.
    knn_kwargs
        Options of an approximate algorithm, such as ``n_lists`` and ``n_probes``.
    batch_size
        Cells computed at once; ``None`` fits a slab to the cache of a CPU, the memory of a GPU.
    materialize
        ``True`` writes the layer. ``False`` stores only what it is made of, and ``mixscape`` and ``mixscale`` compute
        the cells and genes that they need: the neighbours (``obsp["X_pert_neighbors"]``), or the means of the controls
        (``varm["X_pert_means"]``), and ``uns["X_pert"]``. ``None`` is ``True`` where ``X`` is in memory or `out` is
        given, and ``False`` where ``X`` is in a file or a Dask array.
    output
        Storage of the layer: ``"dense"``, ``"sparse"`` (CSR), or ``"auto"``: dense for a dense ``X``; for a sparse
        one CSR where that is the smaller, as foreseen from 128 cells. A signature has more non-zeros than the data.
    out
        A file (``.h5ad``) or store (``.zarr``) to write the layer to instead of memory, slab by slab: an AnnData with
        the signature as ``X``. It has this name once it is whole; after an error nothing is left of it. The layer is
        then read from there as it is needed.
    copy
        Whether to return a changed copy.
    **nndescent
        pertpy's options for pynndescent, without effect: the search is exact.

    Returns
    -------
    The copy with ``copy=True``, else ``None``. Writes ``adata.layers["X_pert"]``, and where it had to compute them
    ``adata.obsm["X_pca"]``, ``adata.varm["PCs"]``, ``adata.uns["pca"]``.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If the control has no cells (at all, or in a split), the representation does not exist or has fewer than
        `n_pcs` columns, a value is NaN, infinite or too large for a logarithm, or an argument is out of range; if
        principal components of an ``X`` in a file are to be computed and it would not fit into ``settings.memory_gb``.
    FileExistsError
        If `out` is there already.
    OSError
        If `out` cannot be written.
    ImportError
        If the library of an approximate algorithm, or of `out`, is not installed.
    """
    check_choice("ref_selection_mode", ref_selection_mode, get_args(Mode))
    check_choice("output", output, get_args(Output))
    for name, value in (("n_neighbors", n_neighbors), ("n_dims", n_dims), ("n_pcs", n_pcs), ("batch_size", batch_size)):
        check_least(name, value, 1)
    if ref_selection_mode == "split_by" and split_by is None:
        raise ValueError("ref_selection_mode='split_by' needs split_by: name a column of adata.obs.")
    _check_nndescent(nndescent)
    if out is not None and materialize is False:
        raise ValueError(f"out={str(out)!r} names a store for the layer, and materialize=False makes none.")
    if not copy:
        check_writable(adata)
    path = None if out is None else check_path(out)
    device = resolve_devices()[0]
    check_backend(knn_algorithm, knn_kwargs or {}, cuda=device.type == "cuda")
    screen, matrix = Screen.from_obs(adata, pert_key, control, split_by), open_matrix(adata, "X")
    space = None
    if ref_selection_mode == "nn":
        space = _representation(adata, matrix, use_rep, n_dims, n_pcs)
        search = partial(nearest_neighbors, algorithm=knn_algorithm, options=knn_kwargs)
        signature: Any = NeighborSignature(matrix, _neighbors(space, screen, n_neighbors, search, device))
    else:
        signature = split_signature(matrix, screen, device)
    implicit = matrix.is_file and path is None if materialize is None else not materialize
    layer = None if implicit else _layer(adata, signature, device, output, batch_size, path)
    target = target_of(adata, copy=copy)
    if layer is None:
        write_implicit(target, signature, screen)
    else:
        clear(target)
        target.layers[LAYER] = layer
    if space is not None and space.pca is not None:
        _write_pca(target, space.pca)
    return target if copy else None


@final
@dataclass(frozen=True)
class _Space:
    """Where cells are near each other."""

    matrix: Matrix
    n_dims: int
    pca: PCA | None = None


def _representation(
    adata: AnnData, expression: Matrix, use_rep: str | None, n_dims: int | None, n_pcs: int | None
) -> _Space:
    def first(matrix: Matrix, most: int | None = None, pca: PCA | None = None) -> _Space:
        return _Space(matrix, min(x for x in (matrix.shape[1], most, n_dims) if x is not None), pca)

    if use_rep == "X" or (use_rep is None and expression.shape[1] <= FEW_GENES):
        return first(expression)
    if use_rep is not None and use_rep not in adata.obsm:
        raise ValueError(
            f"use_rep={use_rep!r} is neither 'X' nor a key of obsm: {nearest(use_rep, [*adata.obsm, 'X'])}"
        )
    key = use_rep or next((key for key in DEFAULT_EMBEDDING[::-1] if key in adata.obsm), None)
    if key is not None:
        matrix = open_matrix(adata, obsm_key=key)
        if n_pcs is not None and n_pcs > matrix.shape[1]:
            raise ValueError(
                f"n_pcs={n_pcs}, but obsm[{key!r}] has {matrix.shape[1]} columns: compute more, or lower it."
            )
        return first(matrix, n_pcs)
    n_comps = min(n_pcs or 50, min(expression.shape) - 1)
    _check_size(expression)
    warnings.warn(
        f"obsm has no 'X_pca': computing {n_comps} principal components of X. Preprocess and compute your own "
        "(for instance scanpy.pp.pca) to choose the genes.",
        UserWarning,
        stacklevel=4,
    )
    everyone = torch.arange(expression.shape[0])
    if expression.is_dask:
        expression = expression.taken(everyone.numpy())  # its chunks are computed together
    values = expression.counts() if expression.is_sparse else expression.rows(everyone).numpy()
    if expression.is_sparse and not np.isfinite(values.data).all():
        expression.rows(everyone)  # raises, and names the cell
    pca = principal_components(values.astype(f"f{4 if expression.dtype == torch.float32 else 8}", copy=False), n_comps)
    return first(as_matrix(pca.scores, "X_pca"), pca=pca)


def _check_size(expression: Matrix) -> None:
    """Refuse to read a file whose principal components cannot be had within the budget."""
    nbytes = expression.shape[0] * expression.entries_per_row * (expression.dtype.itemsize + 4)
    if expression.is_file and nbytes > memory_budget(torch.device("cpu")):
        raise ValueError(
            f"obsm has no 'X_pca', and {expression.name}, in a file, takes {nbytes / 1e9:.1f} GB in memory, more than "
            "settings.memory_gb: compute an embedding into obsm['X_pca'] first, or name one with use_rep."
        )


def _neighbors(
    space: _Space, screen: Screen, n_neighbors: int, search: Callable[..., torch.Tensor], device: torch.device
) -> Neighbors:
    """The controls of its split that are nearest to each cell, ascending."""
    n, columns = space.matrix.shape[0], np.arange(space.n_dims)
    counts = torch.zeros(n, dtype=torch.int64, device=device)
    chosen = []
    for split in screen.splits:
        members, controls = (torch.from_numpy(rows).to(device) for rows in (split.members, split.controls))
        queries, references = (space.matrix.rows(rows, columns) for rows in (members, controls))
        found = search(queries, references, min(n_neighbors, len(controls)))
        chosen.append((members, controls[found].sort(1).values))
        counts[members] = found.shape[1]
    indptr = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    cells = torch.empty(sum(found.numel() for _, found in chosen), dtype=torch.int64, device=device)
    for members, found in chosen:
        cells[indptr[members][:, None] + torch.arange(found.shape[1], device=device)] = found
    return Neighbors(cells, indptr)


def _layer(
    adata: AnnData, signature: Any, device: torch.device, output: Output, batch_size: int | None, path: Path | None
) -> Any:
    if output == "auto" and not signature.matrix.is_sparse:
        output = "dense"
    if path is not None:
        with new_store(path, adata) as store:
            stream(store, signature, device, output, batch_size)
        return open_store(path)
    if signature.matrix.is_file:
        kept = InMemory(signature.shape)
        stream(kept, signature, device, output, batch_size)
        values = kept.whole()
    else:
        values = _materialize.materialize(signature, device, output, batch_size)
    of_matrix = signature.matrix.is_file or isinstance(adata.X, sp.spmatrix)
    return sp.csr_matrix(values) if sp.issparse(values) and of_matrix else values


def _write_pca(adata: AnnData, pca: PCA) -> None:
    adata.obsm["X_pca"], adata.varm["PCs"] = pca.scores, pca.loadings
    adata.uns["pca"] = {"variance": pca.variance, "variance_ratio": pca.variance_ratio}


def _check_nndescent(options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - NNDESCENT - {"metric"})
    if unknown:
        raise TypeError(f"perturbation_signature() got an unexpected keyword argument {unknown[0]!r}")
    if options.get("metric", "euclidean") != "euclidean":
        raise ValueError(f"metric={options['metric']!r}: neighbours are those in Euclidean distance.")
