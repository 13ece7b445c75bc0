"""How often ``DistanceTest`` would find its targets, by the number of cells."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pertorch.data import Cells, open_matrix
from pertorch.exec import progress_bar, resolve_devices
from pertorch.metrics import KernelMetric
from pertorch.metrics._subsampled import Deals, Subsampled
from pertorch.stats import subsamples
from pertorch.tl._arguments import level_between, whole_number
from pertorch.tl._distance_test import DistanceTest, adjust
from pertorch.tl._power_design import Design

if TYPE_CHECKING:
    from anndata import AnnData

DEALS = 2_000  # of a target's labels at one size, over all replicates: they tell a p of 0.05 to half a per cent


def distance_power(
    adata: AnnData,
    groupby: str,
    contrast: Any,
    n_cells: Sequence[int] | int,
    *,
    test: DistanceTest | None = None,
    groups: Sequence[Any] | None = None,
    n_controls: int | None = None,
    n_replicates: int = 200,
    n_targets: int | None = None,
    replace: bool = False,
    confidence_level: float = 0.95,
    random_state: int | None = None,
    show_progressbar: bool | None = None,
) -> pd.DataFrame:
    """How often :class:`DistanceTest` would call a target significant if it had so many cells.

    Screens of `n_cells` cells per target are drawn from a pilot (or from a large simulated screen), and each is tested.
    A sample without replacement of cells that are a sample themselves is a sample of that size from where they came:
    so the estimate is unbiased, for targets without any effect too. How far it may be off is another matter: see the
    notes in ``docs/power.md``.

    Parameters
    ----------
    adata
        The pilot: annotated data with labels, and the embedding or layer that `test` reads.
    groupby
        Column of ``adata.obs``.
    contrast
        The control.
    n_cells
        Cells per target to look at, one number or several.
    test
        The test as it will be run: metric (one made of distances between cells: ``"edistance"``, ``"mean_pairwise"``,
        ``"mmd"`` with a kernel), permutations, threshold and correction. ``None`` is ``DistanceTest()``.
    groups
        Targets to look at; ``None``: all.
    n_controls
        Control cells of a planned screen, drawn from those of the pilot; ``None``: all of the pilot's.
    n_replicates
        Screens drawn for each size.
    n_targets
        Targets of the planned screen, for the correction. ``None``: those of the pilot, corrected together screen by
        screen (a target that has too few cells for a size counts as not significant). A number: each target is
        corrected as the only one with an effect among so many; 1 is no correction.
    replace
        Whether to draw target cells with replacement, which allows more cells than the pilot has. Beyond the pilot's
        number the estimate is of the pilot's own cells, not of the population they came from: targets without effect
        seem to have one. Controls are always drawn without.
    confidence_level
        Of the intervals.
    random_state
        Seed; ``None`` is ``pertorch.settings.seed``.
    show_progressbar
        Whether to show a progress bar; ``None`` as ``pertorch.settings.progress`` says.

    Returns
    -------
    One row per target and size: ``target``, ``pilot_cells``, ``n_cells``, ``n_controls``, ``n_detected`` of
    ``n_replicates`` screens, ``power``, and ``lower``, ``upper``, the ends of Wilson's interval for what more
    replicates from this pilot would give.

    Raises
    ------
    KeyError
        If `groupby` or the matrix's key does not exist.
    ValueError
        If a group has no cells, the metric is not one of those above, a number is out of its range, no target has cells
        enough, or a value is NaN or infinite.

    Warns
    -----
    UserWarning
        If targets have too few cells for the larger sizes, or the test has too few permutations for any p to pass.

    Examples
    --------
    >>> import numpy as np, pandas as pd, anndata, pertorch
    >>> rng = np.random.default_rng(0)
    >>> gene = np.repeat(["NT", "A", "B"], [200, 60, 60])
    >>> x = rng.normal(size=(320, 5)) + 0.8 * (gene == "A")[:, None]
    >>> obs = pd.DataFrame({"gene": gene}, index=[f"cell{i}" for i in range(320)])
    >>> pilot = anndata.AnnData(obs=obs, obsm={"X_pca": x})
    >>> found = pertorch.tl.distance_power(pilot, "gene", "NT", [5, 40], n_replicates=100)
    >>> found.pivot(index="target", columns="n_cells", values="power").loc["A"].round(1).tolist()
    [0.8, 1.0]
    """
    test = DistanceTest() if test is None else test
    level_between(confidence_level)
    if n_targets is not None:
        n_targets = whole_number(n_targets, "n_targets", 1)
    design = Design.of(adata, groupby, contrast, n_cells, groups, n_replicates, random_state, replace=replace)
    available = int(design.groups.sizes[design.control])
    m = available if n_controls is None else whole_number(n_controls, "n_controls", 2)
    if m > available:
        raise ValueError(f"n_controls={m}, but the pilot has {available} cells of {contrast!r}: ask for fewer.")
    needed = [*design.targets, design.control]
    groups_of = design.groups.select([design.groups.names[t] for t in needed])
    cells = Cells(open_matrix(adata, test.layer_key, test.obsm_key), groups_of)
    device = resolve_devices()[0]
    metric = test._metric.bound(cells, device)
    if not isinstance(metric, KernelMetric):
        raise ValueError(
            f"metric={test.metric!r} is not made of distances between cells: power is for 'edistance', 'mean_pairwise' "
            "and 'mmd' with kernel 'rbf' or 'poly'."
        )
    drawn = _drawn(design, metric, cells, m, test.n_perms, device)
    verdict = _Verdict(test, len(design.targets), n_targets)
    rows: list[dict[str, Any]] = []
    total = sum(len(design.targets_at(n)) for n in design.sizes) * design.n_replicates
    with progress_bar(lambda: total, "power", show_progressbar, unit="tests") as bar:
        for n in design.sizes:
            targets, pvalues = design.targets_at(n), []
            for t in targets:
                pvalues.append(_pvalues(design, drawn, needed.index(t), t, n, m, test.n_perms))
                bar.update(design.n_replicates)
            found = verdict(np.array(pvalues)).sum(1).tolist()
            for t, n_detected in zip(targets, found, strict=True):
                rows.append({"target": t, "n_cells": n, "n_controls": m, "n_detected": n_detected})
    return design.table(rows, confidence_level)


def _drawn(
    design: Design, metric: KernelMetric, cells: Cells, m: int, n_perms: int, device: torch.device
) -> Subsampled:
    """Controls of every replicate, and the order in which deals take them."""
    everyone = m == int(design.groups.sizes[design.control])
    controls = torch.arange(m)[None] if everyone else design.draw(design.control, m, replace=False)
    n_deals = -(-max(DEALS, n_perms) // design.n_replicates)
    longest, key = min(m, design.sizes[-1]), ~int(design.groups.keys[design.control])
    sequences = subsamples(design.seed, key, design.n_replicates * n_deals, longest, m).unflatten(0, (-1, n_deals))
    return Subsampled(metric, cells, len(design.targets), controls, sequences, device)


def _pvalues(
    design: Design, drawn: Subsampled, at: int, target: int, n: int, m: int, n_perms: int
) -> NDArray[np.float64]:
    """What the test of each replicate gives.

    The deals of all replicates serve each of them: they come from screens alike but for the draw. So many permutations
    as the test makes are then a binomial number of deals that are as far.
    """
    rng = design.rng(target, n)
    shape = design.n_replicates, drawn.n_deals
    n_kept = rng.hypergeometric(n, m, n, shape)
    ranks = rng.random((design.n_replicates, n, drawn.n_deals)).argsort(1).argsort(1)
    deals = Deals(torch.from_numpy(ranks < n_kept[:, None]), torch.from_numpy(n - n_kept))
    observed, null = (part.numpy() for part in drawn(at, design.draw(target, n), deals))
    null = np.sort(null.ravel())
    farther = len(null) - np.searchsorted(null, observed - 1e-5 * null.std())
    exceeds = rng.binomial(n_perms, (farther + 0.5) / (len(null) + 1))
    return (exceeds + 1) / (n_perms + 1)


@final
class _Verdict:
    """Which of some p-values, targets × replicates, the test calls significant after its correction."""

    def __init__(self, test: DistanceTest, n_pilot: int, n_targets: int | None) -> None:
        self._alpha, self._correction = test.padj_threshold, test.correction
        self._together, self._n_targets = n_targets is None, n_targets or n_pilot
        smallest = 1 / (test.n_perms + 1)
        best = [smallest] * n_pilot if self._together else self._alone(smallest)
        if not adjust(np.array(best), self._correction)[0] < self._alpha:
            warnings.warn(
                f"n_perms={test.n_perms} cannot give a p-value that is significant among {self._n_targets} targets: "
                "the power is 0 whatever the number of cells. Raise n_perms.",
                UserWarning,
                stacklevel=3,
            )

    def _alone(self, p: float) -> list[float]:
        """Beside targets without effect."""
        return [p] + [1.0] * (self._n_targets - 1)

    def __call__(self, pvalues: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self._together:
            missing = np.ones((self._n_targets - len(pvalues), pvalues.shape[1]))
            every = np.concatenate([pvalues, missing])
            adjusted = np.stack([adjust(column, self._correction) for column in every.T], 1)
            return adjusted[: len(pvalues)] < self._alpha
        distinct, where = np.unique(pvalues, return_inverse=True)
        passes = np.array([adjust(np.array(self._alone(p)), self._correction)[0] < self._alpha for p in distinct])
        return passes[where.reshape(pvalues.shape)]
