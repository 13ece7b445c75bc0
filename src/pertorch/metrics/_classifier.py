"""How well a logistic regression tells groups apart."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch._settings import settings
from pertorch.exec import map_threads, track
from pertorch.metrics._base import Distances, Needs
from pertorch.metrics._resampled import ResampledMetric
from pertorch.solvers.logistic import Logistic, fit_binary, fit_logistic
from pertorch.stats import uniform

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs

HELD_OUT = 0.2  # share of Y that the regression does not see
CPU = torch.device("cpu")
_lock = threading.Lock()
_within: list[Any] = []  # what limits BLAS, and an entry for each who is within


@final
@dataclass(frozen=True)
class ClassifierProba(ResampledMetric):
    """Mean probability that held-out cells of Y are told from X by a logistic regression: a score, not symmetric.

    A fifth of Y's cells, one at least, is held out; a regression as scikit-learn's ``LogisticRegression`` with its
    default penalty is fitted to X and the rest of Y: to its optimum, or, with more than 256 features, until
    scikit-learn's solver stops.

    Parameters
    ----------
    random_state
        Seed of the choice of held-out cells, which depends on it and on the name of Y. Default: `settings.seed` when
        the metric is made.
    max_iter
        Iterations of the regression's solver.
    """

    name: ClassVar[str] = "classifier_proba"
    symmetric: ClassVar[bool] = False
    is_distance: ClassVar[bool] = False
    needs: ClassVar[Needs] = Needs(right_cells=2)
    random_state: int = field(default_factory=lambda: settings.seed)
    max_iter: int = 100

    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """See :class:`ResampledMetric`."""
        del device
        table, pairs_of = _table(cells), list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
        splits = {y: self._split(cells, y) for y in {y for _, y in pairs_of}}
        with _one_thread():
            fits = map_threads(lambda pair: self._probability(cells, table, pair[0], *splits[pair[1]]), pairs_of, CPU)
            found = list(track(fits, len(pairs_of), "logistic regressions", unit="pairs"))
        values, converged = zip(*found, strict=True)
        return Distances(torch.tensor(values, dtype=torch.float64), torch.tensor(converged))

    def warn(self, cells: Cells, pairs: Pairs, converged: Tensor) -> None:
        """See :class:`Metric`."""
        del cells, pairs
        _warn(self, converged)

    def _probability(
        self, cells: Cells, table: Any, x: int, seen: NDArray[np.int64], held_out: NDArray[np.int64]
    ) -> tuple[float, bool]:
        train = np.concatenate([_rows_of(cells, [x]), seen])
        labels = np.arange(len(train)) >= int(cells.sizes[x])
        model = fit_binary(table[train], labels.astype(np.int64), self.max_iter)
        return float(model.probabilities(table[held_out])[:, 1].mean()), model.converged

    def _split(self, cells: Cells, y: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of Y to fit on, and rows held out."""
        rows = _rows_of(cells, [y])
        key = torch.tensor(int(cells.groups.keys[y]))
        draws = uniform(self.random_state, key, torch.tensor(0), torch.arange(len(rows)))
        shuffled = rows[draws.argsort().numpy()]
        n_held_out = max(1, int(HELD_OUT * len(rows)))
        return np.sort(shuffled[n_held_out:]), np.sort(shuffled[:n_held_out])


@final
@dataclass(frozen=True)
class ClassifierCP(ResampledMetric):
    """One minus the mean probability of X's class that a classifier of all groups X gives to the cells of Y: a score.

    One multinomial logistic regression (scikit-learn's, with its defaults) for each reference Y, fitted to every group
    that meets it: so a value depends on which other groups take part.

    Parameters
    ----------
    max_iter
        Iterations of the regression's solver.

    Raises
    ------
    ValueError
        If fewer than two groups meet a reference.
    """

    name: ClassVar[str] = "classifier_cp"
    symmetric: ClassVar[bool] = False
    is_distance: ClassVar[bool] = False
    by_reference: ClassVar[bool] = True
    max_iter: int = 100

    def values(self, cells: Cells, pairs: Pairs, device: torch.device) -> Distances:
        """See :class:`ResampledMetric`."""
        del device
        references, met = pairs.right.unique(return_counts=True)
        if bool((met < 2).any()):
            name = cells.groups.names[int(references[met < 2][0])]
            raise ValueError(
                f"classifier_cp needs at least two groups besides the reference {name!r}: use onesided_distances or "
                "pairwise with more groups."
            )
        table, out = _table(cells), torch.empty(len(pairs), dtype=torch.float64)
        converged = torch.empty(len(pairs), dtype=torch.bool)
        for y in track(references.tolist(), len(references), "logistic regressions", unit="references"):
            mine = pairs.right == y
            model = self._model(cells, table, pairs.left[mine].tolist())
            out[mine] = 1 - torch.from_numpy(model.probabilities(table[_rows_of(cells, [y])]).mean(0))
            converged[mine] = model.converged
        return Distances(out, converged)

    def warn(self, cells: Cells, pairs: Pairs, converged: Tensor) -> None:
        """See :class:`Metric`."""
        del cells
        references, of = pairs.right.unique(return_inverse=True)
        _warn(self, torch.ones(len(references), converged.shape[1], dtype=torch.bool).index_put_((of,), converged))

    def _model(self, cells: Cells, table: Any, groups: list[int]) -> Logistic:
        labels = np.repeat(np.arange(len(groups)), cells.sizes[groups].numpy())
        return fit_logistic(table[_rows_of(cells, groups)], labels, len(groups), self.max_iter)


def _warn(metric: ClassifierProba | ClassifierCP, converged: Tensor) -> None:
    """Say how many regressions did not converge."""
    from sklearn.exceptions import ConvergenceWarning

    failed = f"{int((~converged).sum())} of {converged.numel()} regressions"
    warnings.warn(
        f"{metric.name}: {failed} did not converge in max_iter={metric.max_iter} iterations: scale the features, "
        "or raise it.",
        ConvergenceWarning,
        stacklevel=2,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """For fits of some hundred cells: a second thread of BLAS would only wait for the first.

    What it is held to holds for the process: until the last of those who are within, such as tasks of Dask, has left.
    """
    from threadpoolctl import threadpool_limits

    with _lock:
        if not _within:
            _within.append(threadpool_limits(1, "blas"))
        _within.append(None)
    try:
        yield
    finally:
        with _lock:
            _within.pop()
            if len(_within) == 1:
                _within.pop().restore_original_limits()


def _rows_of(cells: Cells, groups: Sequence[int]) -> NDArray[np.int64]:
    """Positions of the groups' rows, group after group."""
    ends = cells.offsets.tolist()
    return np.concatenate([np.arange(ends[g], ends[g + 1]) for g in groups])


def _table(cells: Cells) -> Any:
    """All rows for scikit-learn, sparse as they are; in float64, for storage must not show in what it finds."""
    return cells.csr.astype(np.float64) if cells.matrix.is_sparse else cells.on(CPU).double().numpy()
