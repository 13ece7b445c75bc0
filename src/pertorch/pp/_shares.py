"""Methods that look at a guide's share of its cell: ``ratio``, ``quantiles``, ``2beta`` and ``3beta``."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from pertorch.exec import map_devices
from pertorch.pp import _arguments as arguments
from pertorch.pp._counts import Counts, cell_totals, select
from pertorch.pp._max_guide import largest_guide
from pertorch.pp._setting import Assignment, Setting
from pertorch.solvers import BetaMixture, fit_beta


def ratio(counts: Counts, setting: Setting, *, ratio: float = 0.5) -> Assignment:  # noqa: ARG001
    """A cell's largest guide, if it makes up more than `ratio` of the cell's counts."""
    _, largest = largest_guide(counts)
    share = largest / np.maximum(cell_totals(counts), 1)
    return Assignment(_largest_where(counts, largest, share > arguments.between(ratio, "ratio", 0, 1)), pd.DataFrame())


def quantiles(counts: Counts, setting: Setting, *, quantile: float = 0.35) -> Assignment:  # noqa: ARG001
    """The cells in which a guide has its highest shares: of the cells that hold it, as many as `quantile` says.

    Of cells that tie for the last place, those with more of the guide are taken, and then the first in obs order.
    """
    quantile = arguments.between(quantile, "quantile", 0, 1)
    matrix = counts.matrix
    cell = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    share = matrix.data / cell_totals(counts)[cell]
    order = np.lexsort((cell, -matrix.data.astype(np.float64), -share, matrix.indices))
    held = np.bincount(matrix.indices, minlength=matrix.shape[1])
    rank = np.arange(matrix.nnz) - np.repeat(np.cumsum(held) - held, held)
    kept = order[rank < np.repeat(np.floor(quantile * held), held)]
    ones = np.ones(len(kept), dtype=np.int8)
    return Assignment(sp.csr_array((ones, (cell[kept], matrix.indices[kept])), shape=matrix.shape), pd.DataFrame())


def two_beta(counts: Counts, setting: Setting, *, max_iter: int = 200, tol: float = 1e-6) -> Assignment:
    """As ``ratio``, with a threshold for each batch from a mixture of two Beta densities of the largest share."""
    return _beta(counts, setting, 2, max_iter, tol)


def three_beta(counts: Counts, setting: Setting, *, max_iter: int = 200, tol: float = 1e-6) -> Assignment:
    """As ``2beta``, with a third density for cells of several guides; the threshold is at least 0.5."""
    return _beta(counts, setting, 3, max_iter, tol)


def _beta(counts: Counts, setting: Setting, n_components: int, max_iter: int, tol: float) -> Assignment:
    max_iter, tol = arguments.whole(max_iter, "max_iter"), arguments.between(tol, "tol", 0, float("inf"))
    _, largest = largest_guide(counts)
    share = largest / np.maximum(cell_totals(counts), 1)
    passes, rows, notes, held = np.zeros(len(share), dtype=bool), [], [], {}
    for code, name in enumerate(setting.batches.names):
        cells = np.flatnonzero((setting.batches.codes == code) & (largest > 0))
        if len(cells):
            held[name] = cells
        else:
            notes.append(f"batch {name!r} has no cell with a guide: none is assigned in it.")
    problems = [np.unique(share[cells], return_counts=True) for cells in held.values()]

    def on_device(device: torch.device, run: slice) -> list[BetaMixture]:
        there = ([torch.from_numpy(part).to(device) for part in problem] for problem in problems[run])
        return [fit_beta(shares, times, n_components, max_iter=max_iter, tol=tol) for shares, times in there]

    fits = map_devices(setting.devices, lambda: torch.tensor([len(shares) for shares, _ in problems]), on_device)
    for (name, cells), fit in zip(held.items(), chain.from_iterable(fits), strict=True):
        if not fit.converged:
            notes.append(f"the Beta mixture of batch {name!r} did not converge: raise max_iter.")
        passes[cells] = share[cells] > fit.threshold
        shape = zip(fit.weight.tolist(), fit.alpha.tolist(), fit.beta.tolist(), strict=True)
        numbers = {
            f"{key}_{k}": v
            for k, three in enumerate(shape)
            for key, v in zip(("weight", "alpha", "beta"), three, strict=True)
        }
        rows.append({"batch": name, **numbers, "threshold": fit.threshold, "final_loss": fit.loss})
    return Assignment(_largest_where(counts, largest, passes), pd.DataFrame(rows), tuple(notes))


def _largest_where(counts: Counts, largest: NDArray[np.int64], cells: NDArray[np.bool_]) -> sp.csr_array:
    """The guides that have the largest count of their cell, in these cells."""
    wanted = np.where(cells, largest, -1)
    return select(counts, lambda slab, rows: slab.data == np.repeat(wanted[rows], np.diff(slab.indptr)))
