"""Perturbation signatures: how a cell differs from control cells like it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix, open_matrix
from pertorch.exec import map_threads
from pertorch.tl._screen import Screen, split_key

if TYPE_CHECKING:
    from anndata import AnnData

LAYER = "X_pert"
GRAPH = "X_pert_neighbors"  # obsp: row i holds 1/k at each of the k controls that cell i is compared with
MEANS = "X_pert_means"  # varm: mean of the controls of each split

Rows = NDArray[np.int64]


class Signature(ABC):
    """Reference minus cell, on demand: cells × genes of which only what is asked for is made."""

    matrix: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × genes."""
        return self.matrix.shape

    @abstractmethod
    def block(self, rows: Rows, device: torch.device, columns: Rows | None = None) -> Tensor:
        """These cells and genes: shape ``(len(rows), len(columns))``, floating, on `device`.

        Raises
        ------
        ValueError
            If a value that it needs is NaN or infinite.
        """


@final
@dataclass(frozen=True)
class StoredSignature(Signature):
    """One that lies in a layer."""

    matrix: Matrix

    def block(self, rows: Rows, device: torch.device, columns: Rows | None = None) -> Tensor:
        """See :class:`Signature`."""
        return self.matrix.rows(_on(device, rows), columns)


@final
@dataclass(frozen=True)
class NeighborSignature(Signature):
    """``log1p(mean of expm1(x) over a cell's neighbours) − x``: a mean of amounts, not of their logarithms.

    Attributes
    ----------
    matrix
        Log-normalised expression (natural logarithm).
    graph
        CSR, cells × cells: the columns of row ``i`` are the control cells that cell ``i`` is compared with.
    """

    matrix: Matrix
    graph: sp.csr_array

    @cached_property
    def _controls(self) -> tuple[Rows, Rows]:
        """Cells that are someone's neighbour, and the position of each cell among them."""
        controls = np.unique(self.graph.indices).astype(np.int64)
        position = np.zeros(self.shape[0], dtype=np.int64)
        position[controls] = np.arange(len(controls))
        return controls, position

    @cached_property
    def _expressed(self) -> dict[torch.device, Tensor]:
        return {}

    def block(self, rows: Rows, device: torch.device, columns: Rows | None = None) -> Tensor:
        """See :class:`Signature`."""
        controls, position = self._controls
        if columns is not None:
            expressed = self.matrix.rows(_on(device, controls), columns).expm1_()
        else:
            if device not in self._expressed:
                self._expressed[device] = self.matrix.rows(_on(device, controls)).expm1_()
            expressed = self._expressed[device]
        graph = self.graph[rows]
        bags = _on(device, position[graph.indices])
        starts = _on(device, graph.indptr[:-1].astype(np.int64))
        reference = torch.nn.functional.embedding_bag(bags, expressed, starts, mode="mean")
        return reference.log1p_().sub_(self.matrix.rows(_on(device, rows), columns))


@final
@dataclass(frozen=True)
class SplitSignature(Signature):
    """``mean of x over the controls of a cell's split − x``.

    Attributes
    ----------
    matrix
        Log-normalised expression.
    codes
        Split of each cell.
    means
        Shape ``(splits, genes)``, float64.
    """

    matrix: Matrix
    codes: Rows
    means: NDArray[np.float64]

    def block(self, rows: Rows, device: torch.device, columns: Rows | None = None) -> Tensor:
        """See :class:`Signature`."""
        means = self.means if columns is None else self.means[:, columns]
        reference = torch.from_numpy(means).to(device, self.matrix.dtype)
        out = reference[_on(device, self.codes[rows])]
        return out.sub_(self.matrix.rows(_on(device, rows), columns))


def split_signature(matrix: Matrix, screen: Screen) -> SplitSignature:
    """Compare each cell with the mean of the controls of its split."""
    codes = np.empty(matrix.shape[0], dtype=np.int64)
    means = np.empty((len(screen.splits), matrix.shape[1]))
    for s, split in enumerate(screen.splits):
        codes[split.members] = s
        means[s] = _mean(matrix, split.controls)
    return SplitSignature(matrix, codes, means)


def find_signature(adata: AnnData, layer: str | None) -> Signature:
    """The signature that a call is about: a layer by name, else what ``perturbation_signature`` left.

    Raises
    ------
    KeyError
        If there is none.
    ValueError
        If the cells or splits that it refers to are gone.
    """
    if layer is not None or LAYER in adata.layers:
        return StoredSignature(open_matrix(adata, layer or LAYER))
    if GRAPH in adata.obsp:
        graph = sp.csr_array(adata.obsp[GRAPH])
        lost = int(np.count_nonzero(np.abs(graph.sum(1) - 1) > 1e-3))
        if lost:
            raise ValueError(
                f"{lost} cell(s) are compared with neighbours in obsp[{GRAPH!r}] that this AnnData no longer holds: "
                "run perturbation_signature again."
            )
        return NeighborSignature(open_matrix(adata, "X"), graph)
    if MEANS in adata.varm:
        means = adata.varm[MEANS]
        labels = adata.obs[adata.uns[LAYER]["split_by"]].astype(str)
        codes = pd.Index(means.columns).get_indexer(labels)
        if (codes < 0).any():
            raise ValueError(
                f"varm[{MEANS!r}] lacks split {labels[codes < 0].iloc[0]!r}: run perturbation_signature again."
            )
        return SplitSignature(open_matrix(adata, "X"), codes.astype(np.int64), means.to_numpy(np.float64).T)
    raise KeyError(f"No {LAYER!r} found in .layers: run perturbation_signature first, or name a layer.")


def write_implicit(adata: AnnData, signature: NeighborSignature | SplitSignature, screen: Screen) -> None:
    """Store what the signature is made of, in place of the layer."""
    clear(adata)
    if isinstance(signature, NeighborSignature):
        adata.obsp[GRAPH] = sp.csr_matrix(signature.graph)
        adata.uns[LAYER] = {"ref_selection_mode": "nn"}
        return
    names = [split_key(split) for split in screen.splits]
    adata.varm[MEANS] = pd.DataFrame(signature.means.T, index=adata.var_names, columns=names)
    adata.uns[LAYER] = {"ref_selection_mode": "split_by", "split_by": screen.split_by}


def clear(adata: AnnData) -> None:
    """Forget an earlier signature, so that never two disagree."""
    for mapping, key in ((adata.layers, LAYER), (adata.obsp, GRAPH), (adata.varm, MEANS), (adata.uns, LAYER)):
        if key in mapping:
            del mapping[key]


def materialize(
    signature: Signature, device: torch.device, output: Literal["auto", "dense", "sparse"], batch_size: int | None
) -> Any:
    """The whole signature in host memory, slab of cells by slab: dense, or CSR where that is the smaller."""
    n, n_genes = signature.shape
    probe = signature.block(np.unique(np.linspace(0, n - 1, min(n, 128)).astype(np.int64)), device)
    item = probe.element_size()
    density = float(torch.count_nonzero(probe)) / max(1, probe.numel())
    sparse = output == "sparse" or (output == "auto" and density * (item + 4) < item)
    slab_bytes = 2**23 if device.type == "cpu" else 2**29
    step = batch_size or max(1, slab_bytes // max(1, n_genes * item))
    out = None if sparse else np.empty((n, n_genes), dtype=probe.numpy(force=True).dtype)

    def work(start: int) -> sp.csr_array | None:
        block = signature.block(np.arange(start, min(start + step, n)), device)
        if out is None:
            return sp.csr_array(block.numpy(force=True))
        torch.from_numpy(out[start : start + step]).copy_(block)
        return None

    parts = list(map_threads(work, range(0, n, step), device))
    return out if out is not None else sp.vstack(parts, format="csr")


def _on(device: torch.device, index: Rows) -> Tensor:
    return torch.from_numpy(index).to(device)


def _mean(matrix: Matrix, rows: Rows) -> NDArray[np.float64]:
    """Mean of each gene over these cells, in float64."""
    total, step = np.zeros(matrix.shape[1]), max(1, 2**26 // max(1, 8 * matrix.shape[1]))
    for start in range(0, len(rows), step):
        total += matrix.rows(torch.from_numpy(rows[start : start + step])).sum(0, dtype=torch.float64).numpy()
    return total / len(rows)
