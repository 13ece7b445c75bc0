"""Permutation tests of distances between groups of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch._settings import seed_or_default
from pertorch.data import Cells, Groups, Pairs, check_one_source, open_matrix
from pertorch.data._frames import labels
from pertorch.exec import map_devices, progress_bar, resolve_devices
from pertorch.metrics import KernelMetric, Metric, get_metric, kernel_nulls
from pertorch.stats import Given, Permutations
from pertorch.tl import _contrasts
from pertorch.tl._arguments import whole_number

if TYPE_CHECKING:
    from anndata import AnnData

    from pertorch.exec import MultiGpu

DEALT = 2**23  # labels at once


@final
class DistanceTest:
    """Whether a group of cells is farther from its reference than chance would have it.

    Cells of a group and of the reference are dealt out again at the groups' own sizes, `n_perms` times. With ``b`` of
    ``m`` permutations at least as far as the groups themselves, ``p = (b + 1) / (m + 1)`` (Phipson and Smyth 2010).
    For ``metric="edistance"`` this is the E-test (Székely and Rizzo 2013; Peidli et al. 2024).

    Parameters
    ----------
    metric
        Name of any metric of :class:`Distance`.
    n_perms
        Number of permutations: the smallest p-value is ``1 / (n_perms + 1)``.
    layer_key, obsm_key
        As for :class:`Distance`.
    padj_threshold
        Below which p-values, raw and adjusted, are called significant.
    correction
        Method of ``statsmodels.stats.multitest.multipletests``, over the tested groups.
    random_state
        Seed; ``None`` is ``pertorch.settings.seed``, 0 if not set.
    alpha
        pertpy's former name of `padj_threshold`.
    **options
        Options of the metric.

    Raises
    ------
    ValueError, TypeError
        As :class:`Distance`, and if ``n_perms < 1``, the threshold is not in (0, 1) or the correction is unknown.
    """

    def __init__(
        self,
        metric: str = "edistance",
        *,
        n_perms: int = 1000,
        layer_key: str | None = None,
        obsm_key: str | None = None,
        padj_threshold: float = 0.05,
        correction: str = "holm-sidak",
        random_state: int | None = None,
        alpha: float | None = None,
        **options: Any,
    ) -> None:
        padj_threshold = padj_threshold if alpha is None else alpha
        check_one_source(layer_key, obsm_key)
        if not 0 < padj_threshold < 1:
            raise ValueError(f"padj_threshold={padj_threshold} must lie between 0 and 1.")
        adjust(np.array([0.5]), correction)
        self.metric, self.layer_key, self.obsm_key = metric, layer_key, obsm_key
        self.n_perms, self.random_state = (
            whole_number(n_perms, "n_perms", 1),
            whole_number(seed_or_default(random_state), "random_state"),
        )
        self.padj_threshold, self.correction = padj_threshold, correction
        self._metric: Metric = get_metric(metric, **options)

    def __call__(
        self,
        adata: AnnData,
        groupby: str,
        contrast: Any,
        *,
        groups: Sequence[Any] | None = None,
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
    ) -> pd.DataFrame:
        """Test every group against one reference.

        Parameters
        ----------
        adata
            Annotated data.
        groupby
            Column of ``adata.obs``.
        contrast
            The reference group.
        groups
            Groups to test, in this order; ``None`` tests all. The reference's own row is distance 0, p 1.
        multi_gpu, show_progressbar
            As for :meth:`Distance.pairwise`.

        Returns
        -------
        One row per group: ``distance``, ``pvalue``, ``significant``, ``pvalue_adj``, ``significant_adj``.

        Raises
        ------
        KeyError, ValueError
            As :meth:`Distance.onesided_distances`.
        """
        known = Groups.from_obs(adata, groupby)
        reference = known.names[known.index(contrast)]
        targets = known.names if groups is None else known.select(groups).names
        found = known if groups is None else known.select([*targets, reference])
        pairs = Pairs.onesided([found.index(t) for t in targets], [found.index(reference)])
        table = self._test(adata, found, pairs, multi_gpu, show_progressbar)
        return table.set_index(labels(targets, groupby))

    def test_contrasts(
        self,
        adata: AnnData,
        contrasts: pd.DataFrame,
        *,
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
    ) -> pd.DataFrame:
        """Test every row of a table of contrasts: see :meth:`Distance.contrast_distances`.

        Returns
        -------
        A copy of `contrasts` with the columns of a test.
        """
        _contrasts.validate(adata, contrasts)
        found, pairs = _contrasts.conditions(adata, contrasts)
        table = self._test(adata, found, pairs, multi_gpu, show_progressbar)
        return contrasts.assign(**{column: table[column].to_numpy() for column in table})

    def _test(
        self, adata: AnnData, groups: Groups, pairs: Pairs, multi_gpu: MultiGpu, progress: bool | None
    ) -> pd.DataFrame:
        cells = Cells(open_matrix(adata, self.layer_key, self.obsm_key), groups)
        devices = resolve_devices(multi_gpu)
        # A test is of a target against its reference, in this order, whatever order the groups have: so a pair's
        # permutations do not depend on the others.
        distinct, position = pairs.distinct(len(groups.names), symmetric=False)
        distance, pvalue = np.zeros(len(distinct)), np.ones(len(distinct))
        if len(distinct):
            self._metric.needs.check(self.metric, cells, distinct)
            cells = cells.near()
            metric = self._metric.bound(cells, devices[0])
            evaluated, where = distinct.distinct(len(groups.names), symmetric=metric.symmetric)
            distance = metric.evaluate(cells, evaluated, devices)[:, 0].cpu()[where].numpy()
            permutations = [
                self._permutations(groups, a, b)
                for a, b in zip(distinct.left.tolist(), distinct.right.tolist(), strict=True)
            ]
            n, what = len(distinct) * self.n_perms, f"{self.metric} test"
            with progress_bar(lambda: n, what, progress, unit="permutations") as bar:
                nulls = _nulls(metric, cells, distinct, permutations, devices, bar.update)
                pvalue = np.array([_pvalue(d, null) for d, null in zip(distance, nulls, strict=True)])
        at, tested = position.numpy(), (position >= 0).numpy()
        return self._table(np.where(tested, distance[at], 0.0), np.where(tested, pvalue[at], 1.0), tested)

    def _permutations(self, groups: Groups, left: int, right: int) -> Permutations:
        sizes, keys = groups.sizes.tolist(), groups.keys.tolist()
        return Permutations(sizes[left], sizes[right], keys[left] ^ (keys[right] >> 1), self.n_perms, self.random_state)

    def _table(self, distance: NDArray[Any], pvalue: NDArray[Any], tested: NDArray[Any]) -> pd.DataFrame:
        adjusted = np.ones(len(pvalue))
        if tested.any():
            adjusted[tested] = adjust(pvalue[tested], self.correction)
        return pd.DataFrame(
            {
                "distance": distance,
                "pvalue": pvalue,
                "significant": tested & (pvalue < self.padj_threshold),
                "pvalue_adj": adjusted,
                "significant_adj": tested & (adjusted < self.padj_threshold),
            }
        )


def _nulls(
    metric: Metric,
    cells: Cells,
    pairs: Pairs,
    permutations: Sequence[Permutations],
    devices: Sequence[torch.device],
    tick: Callable[[int], object],
) -> NDArray[np.float64]:
    """Null distribution of each pair, ``(pairs, replicates)``, by the metric's own way where it has one."""
    n_cells = torch.tensor([p.n_cells for p in permutations])
    shares = cells.pair_shares(pairs, devices[0], n_cells, dense=isinstance(metric, KernelMetric))
    mine = [[permutations[p] for p in share.which.tolist()] for share in shares]
    arguments = [(metric, share.pairs, some) for share, some in zip(shares, mine, strict=True)]
    costs = [sum(p.n_replicates for p in some) for some in mine]
    found = np.concatenate(cells.map(shares, _nulls_of, arguments, devices, tick, costs))
    return found[np.argsort(torch.cat([share.which for share in shares]).numpy())]


def _nulls_of(
    cells: Cells,
    devices: Sequence[torch.device],
    tick: Callable[[int], object] | None,
    metric: Metric,
    pairs: Pairs,
    permutations: Sequence[Permutations],
) -> NDArray[np.float64]:
    """Of pairs whose cells are in memory together."""
    if isinstance(metric, KernelMetric):
        return kernel_nulls(metric, cells, pairs, permutations, devices, tick).numpy()

    def work(device: torch.device, run: slice) -> list[torch.Tensor]:
        both = zip(pairs.left[run].tolist(), pairs.right[run].tolist(), permutations[run], strict=True)
        return [_null(metric, cells.twice(a, b, device), relabelled, device, tick) for a, b, relabelled in both]

    done = map_devices(devices, lambda: torch.tensor([p.n_cells for p in permutations]), work)
    return torch.stack([null for run in done for null in run]).numpy()


def _null(
    metric: Metric, dealt: Cells, relabelled: Permutations, device: torch.device, tick: Callable[[int], object] | None
) -> torch.Tensor:
    """Distances between the two groups of `dealt`, relabelled, on the CPU. Labels are dealt out for many replicates."""
    out, step = [], max(1, DEALT // (2 * relabelled.n_cells))
    for start in range(0, relabelled.n_replicates, step):
        stop = min(start + step, relabelled.n_replicates)
        weights = Given(relabelled.columns(start, stop, device))
        out.append(metric.evaluate(dealt, Pairs.onesided([0], [1]), [device], weights)[0].cpu())
        if tick:
            tick(stop - start)
    return torch.cat(out)


def adjust(pvalues: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Adjusted p-values by a method of statsmodels.

    Raises
    ------
    ValueError
        If statsmodels does not know the method.
    """
    from statsmodels.stats.multitest import multipletests

    below_one = np.minimum(pvalues, np.nextafter(1, 0))  # statsmodels takes log(1 − p)
    try:
        return np.asarray(multipletests(below_one, method=method)[1])
    except ValueError:
        raise ValueError(
            f"correction={method!r} is not a method of statsmodels: try 'holm-sidak' or 'fdr_bh'."
        ) from None


def _pvalue(distance: float, null: NDArray[np.float64]) -> float:
    """Share of permutations, the data's own labels among them, that are at least as far."""
    # Two ways to add the same numbers differ in the last digits: a tie is what lies within a hundred-thousandth of the
    # null's own spread.
    at_least = np.count_nonzero(null >= distance - 1e-5 * null.std())
    return (at_least + 1) / (len(null) + 1)
