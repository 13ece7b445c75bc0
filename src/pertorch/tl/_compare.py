"""Every target of a split tested against its controls, gene by gene."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Matrix
from pertorch.exec import map_devices, resolve_devices
from pertorch.stats import Moments, benjamini_hochberg, log_fold_change, t_test, wilcoxon
from pertorch.tl._column_sums import sums_by_columns
from pertorch.tl._passes import sums_by_slabs
from pertorch.tl._row_sums import sums_by_rows
from pertorch.tl._screen import Split
from pertorch.tl._sums import Sums

TestMethod = Literal["wilcoxon", "t-test", "t-test_overestim_var"]


@final
class Passing(NamedTuple):
    """Genes, as positions, that pass a test, and their p."""

    genes: NDArray[np.int64]
    pvals: NDArray[np.float64]


@final
class Comparison(NamedTuple):
    """Statistics of each target of a split against its controls: each ``(targets, genes)``, float64, on any device."""

    scores: Tensor
    logfoldchanges: Tensor
    pvals: Tensor
    pvals_adj: Tensor

    def passing(self, logfc_threshold: float, pval_cutoff: float) -> list[Passing]:
        """Markers of each target, genes ascending."""
        passes = (self.logfoldchanges.abs() >= logfc_threshold) & (self.pvals_adj < pval_cutoff)
        target, gene = torch.nonzero(passes, as_tuple=True)
        genes, pvals = gene.cpu().numpy(), self.pvals[target, gene].cpu().numpy()
        ends = np.searchsorted(target.cpu().numpy(), np.arange(len(passes) + 1))
        return [Passing(genes[start:stop], pvals[start:stop]) for start, stop in itertools.pairwise(ends.tolist())]

    def host(self) -> Comparison:
        """In host memory."""
        return Comparison(*(part.cpu() for part in self))


def compare(matrix: Matrix, splits: Sequence[Split], method: TestMethod, base: float | None) -> Iterator[Comparison]:
    """Test all targets of each split. Statistics of single cells mean nothing.

    A matrix in memory is read split by split; one in a file in a few passes for all of them.
    """
    devices, ranks = resolve_devices(), method == "wilcoxon"
    found: Iterable[Sums]
    if matrix.is_file:
        found = sums_by_slabs(matrix, splits, devices[0], ranks=ranks)
    else:
        found = (_sums_of(matrix, split, devices, ranks=ranks) for split in splits)
    for split, sums in zip(splits, found, strict=True):
        yield _tested(sums, split, method, base)


def _sums_of(matrix: Matrix, split: Split, devices: Sequence[torch.device], *, ranks: bool) -> Sums:
    """In the way that suits the devices; each has all controls, and targets in proportion to their cells."""
    if not len(split.targets):
        return Sums.zeros(split, matrix.shape[1], devices[0])
    by = sums_by_columns if devices[0].type == "cpu" else sums_by_rows
    if len(devices) == 1:
        return by(matrix, split, devices[0], ranks=ranks)
    matrix.resident(devices[0])  # the others copy it from there

    def of_run(device: torch.device, run: slice) -> Sums | None:
        part = split.only(np.arange(len(split.targets))[run])
        return by(matrix, part, device, ranks=ranks) if len(part.targets) else None

    parts = map_devices(devices, lambda: torch.from_numpy(split.sizes), of_run)
    return Sums.join([Sums(*(x.to(devices[0]) for x in part)) for part in parts if part is not None])


def _tested(found: Sums, split: Split, method: TestMethod, base: float | None) -> Comparison:
    n = torch.from_numpy(np.diff(split.offsets)).to(found.values)[:, None]
    means = found.values / n
    if method == "wilcoxon":
        scores, p = wilcoxon(found.powers[1:], n[1:], float(split.offsets[1]))
    else:
        of_groups = Moments.of(n, found.values, found.powers)
        targets, controls = (Moments(*(part[at] for part in of_groups)) for at in (slice(1, None), slice(0, 1)))
        scores, p = t_test(targets, controls, overestimate_variance=method == "t-test_overestim_var")
    return Comparison(scores, log_fold_change(means[1:], means[:1], base), p, benjamini_hochberg(p))
