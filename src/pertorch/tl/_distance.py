"""Distances between groups of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertorch.data import Cells, Groups, Matrix, Pairs, as_matrix, onesided_frame, open_matrix, pairwise_frame
from pertorch.exec import progress_bar, resolve_devices
from pertorch.metrics import get_metric
from pertorch.stats import Bootstrap
from pertorch.tl import _contrasts
from pertorch.tl._arguments import whole_number

if TYPE_CHECKING:
    from anndata import AnnData

    from pertorch.exec import MultiGpu

Frame = TypeVar("Frame")


class MeanVar(NamedTuple):
    """Mean and variance (ddof 0) of a distance over bootstrap replicates."""

    mean: float
    variance: float


@final
class Distance:
    """Distances between groups of cells: drop-in for ``pertpy.tl.Distance`` and ``rapids_singlecell.ptg.Distance``.

    Parameters
    ----------
    metric
        Name of the metric:

        ``"edistance"``
            Energy distance (Székely and Rizzo 2013; Peidli et al. 2024). Options ``estimator`` (``"u"``, unbiased,
            the default; ``"v"`` as pertpy) and ``cell_wise_metric`` (``"euclidean"``, ``"sqeuclidean"``).
        ``"wasserstein"``
            Entropic optimal transport cost (Cuturi 2013). Options ``debiased``, ``epsilon``, ``threshold``,
            ``max_iterations``, ``relaxation``.
        ``"euclidean"``, ``"root_mean_squared_error"``
            Euclidean distance of the mean vectors (the second name, too, is not divided by √p: as both peers).
        ``"mse"``, ``"mean_absolute_error"``
            Mean squared and mean absolute difference of the mean vectors.
        ``"pearson_distance"``, ``"cosine_distance"``, ``"r2_distance"``
            One minus correlation, cosine, and coefficient of determination (X the truth) of the mean vectors.
    layer_key
        Key in ``adata.layers``, or ``"X"`` for ``adata.X``. Excludes `obsm_key`.
    obsm_key
        Key in ``adata.obsm``. Default where neither is given: ``"X_pca"``.
    **options
        Options of the metric.

    Raises
    ------
    ValueError
        If the metric is unknown, an option has a bad value, or both keys are given.
    TypeError
        If the metric has no such option.

    Examples
    --------
    >>> import numpy as np, pertorch
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(60, 5)), rng.normal(1, size=(80, 5))
    >>> round(pertorch.Distance("edistance")(X, Y), 3)
    1.48
    """

    def __init__(
        self, metric: str = "edistance", layer_key: str | None = None, obsm_key: str | None = None, **options: Any
    ) -> None:
        if layer_key is not None and obsm_key is not None:
            raise ValueError(f"layer_key={layer_key!r} and obsm_key={obsm_key!r} exclude each other: give one of them.")
        self.metric, self.layer_key, self.obsm_key = metric, layer_key, obsm_key
        self._metric = get_metric(metric, **options)

    def __repr__(self) -> str:
        key = f"layer_key={self.layer_key!r}" if self.layer_key else f"obsm_key={self.obsm_key or 'X_pca'!r}"
        return f"Distance({self._metric}, {key})"

    def __call__(self, X: Any, Y: Any) -> float:
        """Distance between two groups given as arrays.

        Parameters
        ----------
        X, Y
            Cells × features, shapes ``(n, p)`` and ``(m, p)``: numpy, scipy.sparse, pandas, torch or CuPy.

        Raises
        ------
        ValueError
            If one is empty, holds NaN or infinity, or the numbers of features differ.
        """
        return float(self._evaluate(*_two_groups(X, Y), progress=False)[0, 0])

    def bootstrap(self, X: Any, Y: Any, *, n_bootstrap: int = 100, random_state: int = 0) -> MeanVar:
        """Bootstrap mean and variance of the distance between two groups given as arrays.

        Parameters
        ----------
        X, Y
            As for calling the object.
        n_bootstrap
            Number of replicates, each of which draws the cells of X and of Y with replacement.
        random_state
            Seed.
        """
        replicates = whole_number(n_bootstrap, "n_bootstrap", 1)
        cells, pairs = _two_groups(X, Y)
        values = self._evaluate(cells, pairs, progress=False, n_bootstrap=replicates, seed=random_state)
        return MeanVar(float(values.mean()), float(values.var(correction=0)))

    def compare_distance(
        self, pert: Any, pred: Any, ctrl: Any, mode: str = "simple", fit_to_pert_and_ctrl: bool = False
    ) -> float:
        """How much nearer a prediction is to the perturbed cells than to the control: d(pert, pred) / d(ctrl, pred).

        Below 1 the prediction is nearer to what it predicts than to the control.

        Parameters
        ----------
        pert, pred, ctrl
            Perturbed, predicted and control cells, each cells × features.
        mode
            ``"simple"``, or ``"scaled"``: all three are first scaled to [0, 1] per feature by the range of the control.
        fit_to_pert_and_ctrl
            Whether ``"scaled"`` takes the range of perturbed and control cells together.

        Raises
        ------
        ValueError
            If `mode` is unknown, or as for calling the object.
        """
        if mode not in ("simple", "scaled"):
            raise ValueError(f"mode={mode!r} is not one of: 'simple', 'scaled'.")
        if mode == "scaled":
            fitted = [pert, ctrl] if fit_to_pert_and_ctrl else [ctrl]
            pert, pred, ctrl = _scaled(fitted, pert, pred, ctrl)
        return float(np.float64(self(pert, pred)) / np.float64(self(ctrl, pred)))

    def pairwise(
        self,
        adata: AnnData,
        groupby: str,
        *,
        groups: Sequence[Any] | None = None,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int = 0,
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
        n_jobs: int | None = None,
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Distances between all groups.

        Parameters
        ----------
        adata
            Annotated data.
        groupby
            Column of ``adata.obs``, of any dtype. Cells with a missing label belong to no group.
        groups
            Groups to compare, in this order. ``None`` takes all: in category order for a categorical column, else in
            order of appearance.
        bootstrap
            Whether to resample cells.
        n_bootstrap
            Number of bootstrap replicates. In each, every group is drawn once, for all of its pairs.
        random_state
            Seed.
        multi_gpu
            ``None`` or ``True``: all GPUs, ``False``: the first, or a list or comma-separated string of GPU ids.
        show_progressbar
            Whether to show a progress bar; ``None`` as ``pertorch.settings.progress`` says.
        n_jobs
            Accepted for pertpy's sake; torch's own setting of threads is used.

        Returns
        -------
        Square table, row = X, column = Y, float64, zero diagonal. With `bootstrap`, tables of the mean and the
        variance (ddof 0) over replicates.

        Raises
        ------
        KeyError
            If `groupby` or the matrix's key does not exist.
        ValueError
            If a group has no cells, a value is NaN or infinite, or ``n_bootstrap < 1``.
        """
        del n_jobs
        found = Groups.from_obs(adata, groupby, groups)
        device = resolve_devices(multi_gpu)[0]
        pairs = Pairs.all(len(found.names), symmetric=self._metric.symmetric, device=device)

        def frame(column: Tensor, suffix: str) -> pd.DataFrame:
            name = f"pairwise {self.metric}{suffix}"
            return pairwise_frame(found, pairs, column, name, symmetric=self._metric.symmetric)

        replicates = whole_number(n_bootstrap, "n_bootstrap", 1) if bootstrap else None
        cells = self._cells(adata, found)
        return self._frames(cells, pairs, frame, multi_gpu, show_progressbar, replicates, random_state)

    def onesided_distances(
        self,
        adata: AnnData,
        groupby: str,
        selected_group: Any,
        *,
        groups: Sequence[Any] | None = None,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int = 0,
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
        n_jobs: int | None = None,
    ) -> pd.Series | pd.DataFrame | tuple[pd.Series, pd.Series] | tuple[pd.DataFrame, pd.DataFrame]:
        """Distances of all groups to one reference, or to several.

        Parameters
        ----------
        selected_group
            The reference group Y, or a list of them.
        groups
            Groups X, in this order. ``None`` takes all, the reference included, at distance 0.
        adata, groupby, bootstrap, n_bootstrap, random_state, multi_gpu, show_progressbar, n_jobs
            As for :meth:`pairwise`.

        Returns
        -------
        Series over groups named after the reference, or a table with a column per reference. With `bootstrap`, two
        of them: mean and variance (ddof 0) over replicates.

        Raises
        ------
        KeyError
            If `groupby` or the matrix's key does not exist.
        ValueError
            If a group or reference has no cells, a value is NaN or infinite, or ``n_bootstrap < 1``.
        """
        del n_jobs
        known = Groups.from_obs(adata, groupby)
        references, single = _contrasts.references(selected_group, known)
        targets = known.names if groups is None else known.select(groups).names
        found = known if groups is None else known.select([*targets, *references])
        pairs = Pairs.onesided([found.index(t) for t in targets], [found.index(r) for r in references])

        def frame(column: Tensor, _: str) -> pd.Series | pd.DataFrame:
            return onesided_frame(found, targets, references, column, single=single)

        replicates = whole_number(n_bootstrap, "n_bootstrap", 1) if bootstrap else None
        cells = self._cells(adata, found)
        return self._frames(cells, pairs, frame, multi_gpu, show_progressbar, replicates, random_state)

    def contrast_distances(
        self,
        adata: AnnData,
        contrasts: pd.DataFrame,
        *,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int = 0,
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Distances of the contrasts in a table, one a row.

        Parameters
        ----------
        contrasts
            From :meth:`create_contrasts` or made by hand: first column the target X in the ``obs`` column of that
            name, column ``"reference"`` the reference Y in the same ``obs`` column, any further column a filter on the
            ``obs`` column of its name. A column named after a metric is a result, not a filter.
        adata, bootstrap, n_bootstrap, random_state, multi_gpu, show_progressbar
            As for :meth:`pairwise`.

        Returns
        -------
        A copy of `contrasts` with a float64 column named after the metric. With `bootstrap`, two: mean and variance.

        Raises
        ------
        ValueError
            If a column or a value of the table is not in ``adata.obs``, or a contrast has no cells.
        """
        _contrasts.validate(adata, contrasts)
        found, pairs = _contrasts.conditions(adata, contrasts)

        def frame(column: Tensor, _: str) -> pd.DataFrame:
            return contrasts.assign(**{self.metric: column.cpu().numpy()})

        replicates = whole_number(n_bootstrap, "n_bootstrap", 1) if bootstrap else None
        cells = self._cells(adata, found)
        return self._frames(cells, pairs, frame, multi_gpu, show_progressbar, replicates, random_state)

    create_contrasts = staticmethod(_contrasts.create)
    validate_contrasts = staticmethod(_contrasts.validate)

    def _cells(self, adata: AnnData, groups: Groups) -> Cells:
        return Cells(open_matrix(adata, self.layer_key, self.obsm_key), groups)

    def _frames(
        self,
        cells: Cells,
        pairs: Pairs,
        frame: Callable[[Tensor, str], Frame],
        multi_gpu: MultiGpu,
        progress: bool | None,
        n_bootstrap: int | None,
        seed: int,
    ) -> Any:
        """The distances as `frame` lays them out; with replicates, their mean and their variance."""
        values = self._evaluate(cells, pairs, multi_gpu, progress, n_bootstrap, seed)
        if n_bootstrap is None:
            return frame(values[:, 0], "")
        variance, mean = torch.var_mean(values, 1, correction=0)
        return frame(mean, ""), frame(variance, " variance")

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        multi_gpu: MultiGpu = None,
        progress: bool | None = None,
        n_bootstrap: int | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Distances of all pairs, shape ``(p, r)``: each distinct pair computed once, a group with itself 0."""
        weights = None
        if n_bootstrap is not None:
            seed = whole_number(seed, "random_state")
            weights = Bootstrap(cells.offsets, torch.from_numpy(cells.groups.keys), n_bootstrap, seed)
        distinct, position = pairs.distinct(len(cells.groups.names), symmetric=self._metric.symmetric)
        devices = resolve_devices(multi_gpu)
        n_replicates = n_bootstrap or 1
        if not len(distinct):
            return torch.zeros(len(pairs), n_replicates, dtype=torch.float64)
        with progress_bar(lambda: self._metric.cost(cells, distinct, n_replicates), self.metric, progress) as bar:
            values = self._metric.evaluate(cells, distinct, devices, weights, None if bar.disable else bar.update)
        if pairs.are_distinct:
            return values
        position = position.to(values.device)
        return torch.where(position[:, None] >= 0, values[position], 0.0)


def _scaled(fitted: Sequence[Any], *arrays: Any) -> list[Any]:
    """Arrays scaled per feature by the range of the fitted ones; a feature without range is only shifted."""
    from sklearn.preprocessing import MinMaxScaler

    def dense(values: Any) -> NDArray[Any]:
        matrix = as_matrix(values, "array")
        return matrix.rows(torch.arange(matrix.shape[0])).double().numpy()

    scaler = MinMaxScaler().fit(np.concatenate([dense(values) for values in fitted]))
    return [scaler.transform(dense(values)) for values in arrays]


def _two_groups(X: Any, Y: Any) -> tuple[Cells, Pairs]:
    x, y = as_matrix(X, "X"), as_matrix(Y, "Y")
    if not x.shape[0] or not y.shape[0]:
        raise ValueError(f"X has {x.shape[0]} cells and Y has {y.shape[0]}: neither can be empty.")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"X has {x.shape[1]} features and Y has {y.shape[1]}: pass the same features for both.")
    groups = Groups(("X", "Y"), np.repeat(np.arange(2), [x.shape[0], y.shape[0]]))
    return Cells(Matrix.stack(x, y), groups), Pairs(torch.tensor([0]), torch.tensor([1]))
