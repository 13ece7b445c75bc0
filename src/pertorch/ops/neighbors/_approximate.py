"""Approximate search through faiss (CPU) or cuVS (GPU), where they are installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

ALGORITHMS = ("ivfflat", "ivfpq", "cagra")
OPTIONS = {
    "ivfflat": ("n_lists", "n_probes"),
    "ivfpq": ("n_lists", "n_probes", "pq_dim", "pq_bits"),
    "cagra": ("graph_degree", "itopk_size"),
}


def search(queries: Tensor, references: Tensor, k: int, algorithm: str, options: Mapping[str, Any]) -> Tensor:
    """As :func:`pertorch.ops.neighbors.nearest_neighbors`, approximately.

    Parameters
    ----------
    queries, references, k
        As there.
    algorithm
        One of `ALGORITHMS`.
    options
        ``n_lists``, ``n_probes`` (default √m and a quarter of it), ``pq_dim``, ``pq_bits`` for the inverted files;
        ``graph_degree``, ``itopk_size`` for the graph: CAGRA on a GPU, HNSW, its likeness, on a CPU.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    chosen = _defaults(algorithm, len(references), references.shape[1], k) | dict(options)
    backend = _cuvs if queries.is_cuda else _faiss
    found = backend(queries.float().contiguous(), references.float().contiguous(), k, algorithm, chosen)
    return _filled(found, k, len(references))


def check_backend(algorithm: str, options: Mapping[str, Any], *, cuda: bool) -> None:
    """Whether an approximate search could be made, before any work.

    Raises
    ------
    ValueError
        If the algorithm or an option is unknown.
    ImportError
        If the library is not installed.
    """
    if algorithm != "brute" and algorithm not in ALGORITHMS:
        raise ValueError(f"knn_algorithm={algorithm!r} is not one of: 'brute', {', '.join(map(repr, ALGORITHMS))}.")
    unknown = sorted(set(options) - set(OPTIONS.get(algorithm, ())))
    if unknown:
        known = ", ".join(OPTIONS.get(algorithm, ())) or "none"
        raise ValueError(f"knn_kwargs holds {unknown[0]!r}; the options of {algorithm!r} are: {known}.")
    if algorithm != "brute":
        _load("cuvs.neighbors" if cuda else "faiss", algorithm)


def _load(module: str, algorithm: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        install = "pip install faiss-cpu" if module == "faiss" else "pip install cuvs-cu12 (or cuvs-cu13)"
        raise ImportError(
            f"knn_algorithm={algorithm!r} needs {module.partition('.')[0]}: {install}. "
            "knn_algorithm='brute' is exact and needs nothing."
        ) from error


def _defaults(algorithm: str, n: int, d: int, k: int) -> dict[str, int]:
    if algorithm == "cagra":
        return {"graph_degree": 32, "itopk_size": max(64, 2 * k)}
    n_lists = max(1, min(int(n**0.5), n // 39))  # faiss asks for 39 points a list to train on
    inverted = {"n_lists": n_lists, "n_probes": max(1, -(-n_lists // 4))}
    return inverted if algorithm == "ivfflat" else inverted | {"pq_dim": d, "pq_bits": 8 if n >= 39 * 256 else 4}


def _faiss(queries: Tensor, references: Tensor, k: int, algorithm: str, chosen: Mapping[str, int]) -> Tensor:
    faiss = _load("faiss", algorithm)
    d = references.shape[1]
    if algorithm == "cagra":
        index = faiss.IndexHNSWFlat(d, chosen["graph_degree"])
        index.hnsw.efSearch = chosen["itopk_size"]
    else:
        quantizer = faiss.IndexFlatL2(d)
        if algorithm == "ivfflat":
            index = faiss.IndexIVFFlat(quantizer, d, chosen["n_lists"])
        else:
            index = faiss.IndexIVFPQ(quantizer, d, chosen["n_lists"], chosen["pq_dim"], chosen["pq_bits"])
        index.nprobe = chosen["n_probes"]
    points = references.numpy()
    index.train(points)
    index.add(points)
    return torch.from_numpy(index.search(queries.numpy(), k)[1])


def _cuvs(queries: Tensor, references: Tensor, k: int, algorithm: str, chosen: Mapping[str, int]) -> Tensor:
    module = getattr(
        _load("cuvs.neighbors", algorithm), {"ivfflat": "ivf_flat", "ivfpq": "ivf_pq"}.get(algorithm, "cagra")
    )
    if algorithm == "cagra":
        index_options = {"graph_degree": chosen["graph_degree"]}
        search_options = {"itopk_size": chosen["itopk_size"]}
    else:
        index_options = {key: chosen[key] for key in ("n_lists", "pq_dim", "pq_bits") if key in chosen}
        search_options = {"n_probes": chosen["n_probes"]}
    index = module.build(module.IndexParams(**index_options), references)
    _, found = module.search(module.SearchParams(**search_options), index, queries, k)
    return torch.as_tensor(found, device=queries.device).long()


def _filled(found: Tensor, k: int, n: int) -> Tensor:
    """An index that probed too little gives −1 for a neighbour: repeat the nearest it found, never guess."""
    missing = (found < 0) | (found >= n)
    if bool(missing.all(1).any()):
        raise ValueError(f"the index found no neighbour at all for some cells: raise n_probes, or use 'brute' (k={k}).")
    return torch.where(missing, found[:, :1], found) if bool(missing.any()) else found
