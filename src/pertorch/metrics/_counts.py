"""Metrics of tallies, that is of how often each value occurs in each gene and group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._base import Distances, Needs
from pertorch.metrics._resampled import ResampledMetric
from pertorch.metrics._tallies import from_tallies
from pertorch.ops.ranks import DistributionFunctions, Tallies
from pertorch.ops.segment import batches, ragged_sum
from pertorch.solvers.negative_binomial import Survival, fit_size

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

# Entries worked on at once: on a CPU by each thread, and so much that it stays in the core's cache. A fit takes some
# hundred steps, however few its genes.
ENTRIES = {"cpu": 2**16, "cuda": 2**25}
FITTED = {"cpu": 2**18, "cuda": 2**25}
EPSILON = 1e-8  # what pertpy adds inside each logarithm of the likelihood
INTEGER = 1e-6  # how far from an integer a count may be
FAR = 10  # mean of Y above which a gene that X lacks cannot be fitted, as in pertpy


@final
@dataclass(frozen=True)
class KolmogorovSmirnov(ResampledMetric):
    """Two-sample Kolmogorov-Smirnov statistic of each gene (Massey 1951), averaged over genes."""

    name: ClassVar[str] = "ks_test"

    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """See :class:`ResampledMetric`."""
        left, right = pairs.left.to(device), pairs.right.to(device)
        total = torch.zeros(len(pairs), dtype=torch.float64, device=device)
        for functions in from_tallies(cells, device, DistributionFunctions.of, ENTRIES[device.type]):

            def sums(some: slice, functions: DistributionFunctions = functions) -> Tensor:
                return functions.statistics(left[some], right[some]).sum(1)

            some = batches(functions.cost(left, right), ENTRIES[device.type])
            total += torch.cat(list(map_threads(sums, some, device)))
        return Distances(total / cells.n_features)


@final
@dataclass(frozen=True)
class NegativeBinomial(ResampledMetric):
    """Minus the mean log likelihood of Y's counts under a negative binomial fitted to X, gene by gene: not symmetric.

    Mean X̄, size by maximum likelihood. A gene that is not overdispersed in X (variance, ddof 0, at most the mean) is
    left out. A gene that X lacks counts 0 where its mean in Y is below 10 and is left out otherwise.

    Raises
    ------
    ValueError
        If the values are not counts, or more than half of the genes are left out.
    """

    name: ClassVar[str] = "nb_ll"
    symmetric: ClassVar[bool] = False
    is_distance: ClassVar[bool] = False
    needs: ClassVar[Needs] = Needs(counts=True)

    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """See :class:`ResampledMetric`."""
        left, right = pairs.left.to(device), pairs.right.to(device)
        total = torch.zeros(len(pairs), dtype=torch.float64, device=device)
        n_fitted = torch.zeros(len(pairs), dtype=torch.int64, device=device)

        def fit(tallies: Tallies, sizes: Tensor) -> _Fits:
            _require_counts(tallies, cells)
            return _Fits.of(tallies, sizes)

        for fits in from_tallies(cells, device, fit, FITTED[device.type]):
            n_genes = len(fits.mean) // len(cells.sizes)

            def likelihoods(some: slice, fits: _Fits = fits, n_genes: int = n_genes) -> Tensor:
                genes = fits.log_likelihood(left[some], right[some], n_genes)
                return torch.stack([genes.nansum(1), (~genes.isnan()).sum(1)])

            stretches = fits.survival.lengths.reshape(-1, n_genes).sum(1)
            done = torch.cat(list(map_threads(likelihoods, batches(stretches[right], FITTED[device.type]), device)), 1)
            total += done[0]
            n_fitted += done[1].long()
        bad = torch.nonzero(2 * n_fitted < cells.n_features)[:, 0]
        if len(bad):
            n_left_out = cells.n_features - int(n_fitted[bad[0]])
            raise ValueError(
                f"nb_ll: {n_left_out} of {cells.n_features} genes could not be fit in group "
                f"{cells.groups.names[int(pairs.left[bad[0]])]!r}, which is over half: their variance does not exceed "
                "their mean. Keep highly expressed genes only, or leave that group out."
            )
        return Distances(-total / n_fitted)


def _require_counts(tallies: Tallies, cells: Cells) -> None:
    wrong = (tallies.values < 0) | ((tallies.values - tallies.values.round()).abs() > INTEGER)
    if bool(wrong.any()):
        raise ValueError(
            f"nb_ll needs raw counts, and {cells.matrix.name} holds {float(tallies.values[wrong][0]):g}: name the "
            "layer that has them with layer_key=."
        )


@final
class _Fits(NamedTuple):
    """A negative binomial for every gene of every group; slots as in `Tallies`."""

    survival: Survival
    mean: Tensor
    size: Tensor  # NaN: not overdispersed
    cells: Tensor  # of the slot's group, float64
    log_factorial: Tensor  # Σ_i ln x_i!

    @classmethod
    def of(cls, tallies: Tallies, sizes: Tensor) -> _Fits:
        counts = tallies.values.round()
        cells = torch.repeat_interleave(sizes, len(tallies.lengths) // len(sizes))
        at_least = torch.repeat_interleave(cells, tallies.lengths) - tallies.below
        survival = Survival.of(counts, at_least, tallies.lengths)
        n = cells.double()
        total, squares = (ragged_sum(v * tallies.counts, tallies.lengths) for v in (counts, counts.square()))
        # In whole numbers below 2⁵³ this comparison of variance and mean is exact.
        dispersed = torch.nonzero(squares * n - total.square() > total * n)[:, 0]
        mean, variance = total / n, squares / n - (total / n).square()
        size = torch.full_like(mean, torch.nan)
        fitted = fit_size(survival.select(dispersed)[0], n[dispersed], mean[dispersed], variance[dispersed])
        size[dispersed] = fitted
        return cls(survival, mean, size, n, survival.log_rising(torch.ones_like(survival.start)))

    def log_likelihood(self, x: Tensor, y: Tensor, n_genes: int) -> Tensor:
        """Mean over Y's cells under X's fit, shape ``(pairs, genes)``; NaN where there is none."""
        genes = torch.arange(n_genes, device=x.device)
        of_x, of_y = ((g[:, None] * n_genes + genes).flatten() for g in (x, y))
        mean, size, there = self.mean[of_x], self.size[of_x], self.mean[of_y]
        data, pair = self.survival.select(of_y)
        log_choose = (data.log_rising(size[pair]) - self.log_factorial[of_y]) / self.cells[of_y]
        log_sum = (size + mean + EPSILON).log()
        # ln(r + ε) − ln(r + μ + ε), to full precision where r is large
        log_failure = -torch.log1p(mean / (size + EPSILON))
        value = log_choose + size * log_failure + there * ((mean + EPSILON).log() - log_sum)
        absent = torch.where(there < FAR, 0.0, torch.nan).double()
        return torch.where(mean == 0, absent, value).reshape(len(x), -1)
