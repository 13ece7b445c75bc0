"""The distances that relabelled cells would have had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pertorch.metrics._kernel import KernelMetric, PairSums
from pertorch.ops.pairwise import block_sums, row_sums

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Permutations

# Distances of a subset of n cells take about 7e-10 s a pair on a core, a product with one column of weights over all
# N cells 1.3e-11 s a pair: above N = 5 n the subsets are cheaper. On a GPU they always are.
SUBSETS_ABOVE = {"cpu": 5.0, "cuda": 0.0}
CHUNK = {"cpu": 2**18, "cuda": 2**24}  # cells of all replicates handled at once


def kernel_nulls(
    metric: KernelMetric,
    cells: Cells,
    pairs: Pairs,
    permutations: Sequence[Permutations],
    device: torch.device,
    tick: Callable[[int], object],
) -> Iterator[Tensor]:
    """Null distribution of a kernel metric for each pair: float64, shape ``(n_replicates,)``.

    With A the cells dealt to one group, B the others and ρ the sums of κ over all of a pair's cells,
    ``Σ_AB = Σ_A ρ − Σ_AA`` and ``Σ_BB = Σ ρ − 2 Σ_A ρ + Σ_AA``: only distances within the smaller group are
    evaluated anew.
    """
    rows, kernel = metric.prepare(cells.on(device)), metric.kappa()
    groups = torch.unique(torch.cat([pairs.left, pairs.right]))
    left = torch.cat([pairs.left, pairs.right, groups])
    right = torch.cat([pairs.right, pairs.left, groups])
    sums = row_sums(rows, cells.offsets, left, right, kernel=kernel)
    to_right, to_left, own = sums[: len(pairs)], sums[len(pairs) : 2 * len(pairs)], sums[2 * len(pairs) :]
    own_of = dict(zip(groups.tolist(), own, strict=True))
    blocks = [slice(a, b) for a, b in zip(cells.offsets[:-1].tolist(), cells.offsets[1:].tolist(), strict=True)]

    def null(p: int) -> Tensor:
        a, b = int(pairs.left[p]), int(pairs.right[p])
        rho = torch.cat([to_right[p] + own_of[a], to_left[p] + own_of[b]])
        both = torch.cat([rows[blocks[a]], rows[blocks[b]]])
        return _null(metric, both, rho, permutations[p])

    if device.type != "cpu" or torch.get_num_threads() == 1:
        for p in range(len(pairs)):
            yield null(p)
            tick(1)
        return
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for out in pool.map(null, range(len(pairs))):
            yield out
            tick(1)


def _null(metric: KernelMetric, rows: Tensor, rho: Tensor, permutations: Permutations) -> Tensor:
    n, k = len(rows), permutations.n_small
    step = max(1, CHUNK[rows.device.type] // k)
    out = []
    for start in range(0, permutations.n_replicates, step):
        stop = min(start + step, permutations.n_replicates)
        subset = permutations.subset(start, stop, rows.device)
        within = _within_subsets(metric, rows, subset)
        over = rho[subset].sum(1)
        small, large = rho.new_full((), k), rho.new_full((), n - k)
        between, rest = over - within, rho.sum() - 2 * over + within
        sums = PairSums(between, within, rest, small, large)
        if permutations.n_left > permutations.n_right:
            sums = PairSums(between, rest, within, large, small)
        out.append(metric.combine(sums))
    return torch.cat(out).cpu()


def _within_subsets(metric: KernelMetric, rows: Tensor, subset: Tensor) -> Tensor:
    """Sum of κ over all ordered pairs of each subset of rows: shape ``(subsets,)``, float64."""
    n_subsets, k = subset.shape
    if len(rows) > SUBSETS_ABOVE[rows.device.type] * k:
        offsets, each = torch.arange(n_subsets + 1) * k, torch.arange(n_subsets)
        return block_sums(rows, offsets, each, each, kernel=metric.kappa(), index=subset.flatten())[:, 0]
    weights = torch.zeros(n_subsets, len(rows), device=rows.device).scatter_(1, subset, 1.0).T
    zero = torch.tensor([0])
    return block_sums(rows, torch.tensor([0, len(rows)]), zero, zero, kernel=metric.kappa(), weights=weights)[0]
