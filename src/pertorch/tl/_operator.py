"""Perturbation signatures: how a cell differs from control cells like it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, Self, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix, Slab, open_matrix
from pertorch.data._tasks import reduce_slabs
from pertorch.ops.segment import expand
from pertorch.tl._gathered import Gathered
from pertorch.tl._screen import Screen, split_key

if TYPE_CHECKING:
    from anndata import AnnData

LAYER = "X_pert"
GRAPH = "X_pert_neighbors"  # obsp: row i holds 1/k at each of the k controls that cell i is compared with
LARGEST = 25.0  # logarithm of expression: e²⁵ is more molecules than any cell has
MEANS = "X_pert_means"  # varm: mean of the controls of each split

Rows = NDArray[np.int64]
Reader = Callable[[Tensor], Tensor]


class Signature(ABC):
    """Reference minus cell, on demand: cells × genes of which only what is asked for is made."""

    matrix: Matrix | Gathered

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × genes."""
        return self.matrix.shape

    def sources(self, rows: Rows) -> Rows:
        """Cells that these are compared with, and that are read at the genes of all of them."""
        return rows[:0]

    def among(self, rows: Rows, matrix: Gathered) -> Self:
        """The same for these cells alone, ascending, from what is gathered of the matrix."""
        del rows
        return self.of(matrix)

    def of(self, matrix: Gathered) -> Self:
        """The same, from what is gathered of the matrix."""
        return replace(self, matrix=matrix)  # type: ignore[type-var]  # those below are dataclasses

    @property
    def nbytes(self) -> int:
        """Memory that it takes beside the matrix, about."""
        return 8 * self.shape[0]

    @abstractmethod
    def reader(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """A function of rows that gives them at these genes; what all rows share is read once.

        What it takes is of shape ``(n,)``, int64, on `device`; what it gives of shape ``(n, len(columns))``, floating,
        there.

        Raises
        ------
        ValueError
            If a value that it needs is NaN or infinite.
        """

    def block(self, rows: Rows, device: torch.device, columns: Rows | None = None) -> Tensor:
        """These cells and genes, read once: see :meth:`reader`."""
        return self.reader(device, columns)(_on(device, rows))


class Difference(Signature):
    """One that is made: reference minus cell."""

    @abstractmethod
    def reference(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """A function of rows, as :meth:`reader`, that gives what these cells are compared with."""

    def reader(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """See :class:`Signature`."""
        reference = self.reference(device, columns)
        return lambda rows: reference(rows).sub_(self.matrix.rows(rows, columns))


@final
@dataclass(frozen=True)
class StoredSignature(Signature):
    """One that lies in a layer."""

    matrix: Matrix | Gathered

    def reader(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """See :class:`Signature`."""
        del device  # that of the rows
        return lambda rows: self.matrix.rows(rows, columns)


@final
@dataclass(frozen=True)
class Neighbors:
    """The control cells that each cell is compared with: those of cell ``i`` are ``cells[indptr[i]:indptr[i + 1]]``.

    Tensors of int64, on the device where they were found.
    """

    cells: Tensor
    indptr: Tensor

    @classmethod
    def of(cls, graph: sp.csr_array) -> Neighbors:
        """From a graph, cells × cells."""
        return cls(*(torch.from_numpy(part.astype(np.int64)) for part in (graph.indices, graph.indptr)))

    def graph(self) -> sp.csr_matrix:
        """Cells × cells: row ``i`` holds 1/k at each of the k controls of cell ``i``."""
        indptr, cells = self.indptr.cpu().numpy(), self.cells.cpu().numpy()
        counts = np.diff(indptr)
        small = np.int32 if len(cells) < 2**31 else np.int64
        weights = np.repeat((1 / np.maximum(counts, 1)).astype(np.float32), counts)
        n = len(counts)
        return sp.csr_matrix((weights, cells.astype(np.int32), indptr.astype(small)), shape=(n, n))

    def of_cells(self, rows: Rows) -> Tensor:
        """Those of some cells, one after the other."""
        start = self.indptr[rows]
        at, _ = expand(start, self.indptr[rows + 1] - start)
        return self.cells[at]

    def only(self, rows: Rows) -> Neighbors:
        """The same, where no other cell than these, ascending, has any."""
        counts = torch.zeros(len(self.indptr) - 1, dtype=torch.int64)
        counts[rows] = self.indptr.diff()[rows]
        return Neighbors(self.of_cells(rows), torch.nn.functional.pad(counts.cumsum(0), (1, 0)))

    def to(self, device: torch.device) -> Neighbors:
        """On another device."""
        return Neighbors(self.cells.to(device), self.indptr.to(device))


def _amounts(logarithms: Tensor, name: str) -> Tensor:
    """``expm1`` in place.

    Raises
    ------
    ValueError
        If a value cannot be a logarithm of expression, as where raw counts are given.
    """
    if logarithms.numel() and (largest := float(logarithms.max())) > LARGEST:
        raise ValueError(
            f"{name} holds {largest:g}, which is no logarithm of expression: a signature from neighbours averages "
            "expm1(x). Pass log-normalised expression, as scanpy.pp.normalize_total and scanpy.pp.log1p give it."
        )
    return logarithms.expm1_()


@final
@dataclass(frozen=True)
class NeighborSignature(Difference):
    """``log1p(mean of expm1(x) over a cell's neighbours) − x``: a mean of amounts, not of their logarithms.

    Attributes
    ----------
    matrix
        Log-normalised expression (natural logarithm).
    neighbors
        The controls that each cell is compared with.
    """

    matrix: Matrix | Gathered
    neighbors: Neighbors

    def sources(self, rows: Rows) -> Rows:
        """See :class:`Signature`."""
        return self.neighbors.of_cells(rows).unique().cpu().numpy()

    def among(self, rows: Rows, matrix: Gathered) -> NeighborSignature:
        """See :class:`Signature`."""
        on_host = self.neighbors.to(torch.device("cpu"))  # as what was gathered is
        return NeighborSignature(matrix, on_host.only(rows))

    @property
    def nbytes(self) -> int:
        """See :class:`Signature`."""
        return super().nbytes + self.neighbors.cells.nbytes + self.neighbors.indptr.nbytes

    @cached_property
    def _placed(self) -> dict[torch.device, tuple[Neighbors, Tensor, Tensor]]:
        return {}

    def _on(self, device: torch.device) -> tuple[Neighbors, Tensor, Tensor]:
        """The neighbours there, cells that are someone's neighbour, and the position of each cell among those."""
        if device not in self._placed:
            neighbors = self.neighbors.to(device)
            used = torch.zeros(self.shape[0], dtype=torch.bool, device=device)
            used[neighbors.cells] = True
            self._placed[device] = neighbors, torch.nonzero(used)[:, 0], used.cumsum(0) - 1
        return self._placed[device]

    def reference(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """See :class:`Difference`."""
        neighbors, controls, position = self._on(device)
        expressed = _amounts(self.matrix.rows(controls, columns), self.matrix.name)

        def read(rows: Tensor) -> Tensor:
            start = neighbors.indptr[rows]
            counts = neighbors.indptr[rows + 1] - start
            at, _ = expand(start, counts)
            bags = position[neighbors.cells[at]]
            mean = torch.nn.functional.embedding_bag(bags, expressed, counts.cumsum(0) - counts, mode="mean")
            return mean.log1p_()

        return read


@final
@dataclass(frozen=True)
class SplitSignature(Difference):
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

    matrix: Matrix | Gathered
    codes: Rows
    means: NDArray[np.float64]

    def reference(self, device: torch.device, columns: Rows | None = None) -> Reader:
        """See :class:`Difference`."""
        means = self.means if columns is None else self.means[:, columns]
        reference, codes = torch.from_numpy(means).to(device, self.matrix.dtype), _on(device, self.codes)
        return lambda rows: reference[codes[rows]]


def split_signature(matrix: Matrix, screen: Screen, device: torch.device) -> SplitSignature:
    """Compare each cell with the mean of the controls of its split."""
    codes = np.empty(matrix.shape[0], dtype=np.int64)
    for s, split in enumerate(screen.splits):
        codes[split.members] = s
    if matrix.is_file:
        return SplitSignature(matrix, codes, _means_of_slabs(matrix, screen, codes))
    return SplitSignature(matrix, codes, np.stack([_mean(matrix, split.controls, device) for split in screen.splits]))


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
        return NeighborSignature(open_matrix(adata, "X"), Neighbors.of(graph))
    if MEANS in adata.varm:
        means = adata.varm[MEANS]
        labels = adata.obs[adata.uns[LAYER]["split_by"]].astype(str)
        codes = pd.Index(means.columns).get_indexer(labels)
        if (codes < 0).any():
            raise ValueError(
                f"varm[{MEANS!r}] lacks split {labels[codes < 0].iloc[0]!r}: run perturbation_signature again."
            )
        return SplitSignature(open_matrix(adata, "X"), codes.astype(np.int64), means.to_numpy(np.float64, copy=True).T)
    raise KeyError(f"No {LAYER!r} found in .layers: run perturbation_signature first, or name a layer.")


def write_implicit(adata: AnnData, signature: NeighborSignature | SplitSignature, screen: Screen) -> None:
    """Store what the signature is made of, in place of the layer."""
    clear(adata)
    if isinstance(signature, NeighborSignature):
        adata.obsp[GRAPH] = signature.neighbors.graph()
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


def _on(device: torch.device, index: Rows) -> Tensor:
    return torch.from_numpy(index).to(device)


def _mean(matrix: Matrix, rows: Rows, device: torch.device) -> NDArray[np.float64]:
    """Mean of each gene over these cells, in float64."""
    total = torch.zeros(matrix.shape[1], dtype=torch.float64, device=device)
    for part in _on(device, rows).split(max(1, 2**26 // max(1, 8 * matrix.shape[1]))):
        total += matrix.rows(part).sum(0, dtype=torch.float64)
    return total.cpu().numpy() / len(rows)


def _means_of_slabs(matrix: Matrix, screen: Screen, codes: Rows) -> NDArray[np.float64]:
    """As :func:`_mean` of each split's controls, in one pass over a file, or by tasks of Dask."""
    split_of = np.where(screen.groups.codes == screen.control, codes, -1)
    totals = reduce_slabs(matrix, partial(_totals, len(screen.splits)), partial(reduce, np.add), split_of)
    return totals / np.array([[len(split.controls)] for split in screen.splits])


def _totals(n_splits: int, slab: Slab, split_of: Rows) -> NDArray[np.float64]:
    totals = np.zeros((n_splits, slab.rows.shape[1]))
    for s in np.unique(split_of[split_of >= 0]):
        rows = slab.rows[np.flatnonzero(split_of == s)]
        totals[s] = (rows if sp.issparse(rows) else rows.numpy()).astype(np.float64).sum(0)
    return totals
