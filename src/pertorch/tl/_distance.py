"""Distances between groups of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, final, overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pertorch.data import Cells, Groups, Pairs, check_one_source, onesided_frame, open_matrix, pairwise_frame
from pertorch.exec import progress_bar, resolve_devices
from pertorch.metrics import Metric, get_metric
from pertorch.tl import _contrasts
from pertorch.tl._arguments import positional
from pertorch.tl._arrays import scaled, two_groups
from pertorch.tl._replicates import MeanVar, MeanVarInterval, Replicates, frames

if TYPE_CHECKING:
    from anndata import AnnData

    from pertorch.exec import MultiGpu


@final
class Distance:
    """Distances between groups of cells: drop-in for ``pertpy.tl.Distance`` and ``rapids_singlecell.ptg.Distance``.

    Positional arguments after `metric` are ``layer_key, obsm_key`` or, where the first of them is a function, pertpy's
    ``agg_fct, layer_key, obsm_key, cell_wise_metric``.

    Parameters
    ----------
    metric
        Name of the metric: see :func:`pertorch.metrics.list_metrics` and ``docs/metrics.md``.
    layer_key
        Key in ``adata.layers``, or ``"X"`` for ``adata.X``. Excludes `obsm_key`.
    obsm_key
        Key in ``adata.obsm``. Default where neither is given: ``"X_pca"``.
    **options
        Options of the metric. Each verb takes them too, for one call. pertpy's ``agg_fct`` and ``cell_wise_metric`` are
        accepted for every metric and change those that they mean something for.

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

    @overload
    def __init__(
        self, metric: str = "edistance", layer_key: str | None = None, obsm_key: str | None = None, **options: Any
    ) -> None: ...

    @overload
    def __init__(
        self,
        metric: str,
        agg_fct: Callable[..., Any],
        layer_key: str | None = None,
        obsm_key: str | None = None,
        cell_wise_metric: str = "euclidean",
        **options: Any,
    ) -> None: ...

    def __init__(self, metric: str = "edistance", *args: Any, **options: Any) -> None:
        options = positional(args, options)
        self.metric = metric
        self.layer_key, self.obsm_key = options.pop("layer_key", None), options.pop("obsm_key", None)
        check_one_source(self.layer_key, self.obsm_key)
        self._options = options
        self._metric = get_metric(metric, **options)

    def __repr__(self) -> str:
        key = f"layer_key={self.layer_key!r}" if self.layer_key else f"obsm_key={self.obsm_key or 'X_pca'!r}"
        return f"Distance({self._metric}, {key})"

    def __call__(self, X: Any, Y: Any, **options: Any) -> float:
        """Distance between two groups given as arrays.

        Parameters
        ----------
        X, Y
            Cells × features, shapes ``(n, p)`` and ``(m, p)``: numpy, scipy.sparse, pandas, torch or CuPy.
        **options
            Options of the metric, for this call.

        Raises
        ------
        ValueError
            If one is empty, holds NaN or infinity, or the numbers of features differ.
        """
        return float(self._evaluate(self._with(options), *two_groups(X, Y), progress=False)[0, 0])

    def bootstrap(
        self,
        X: Any,
        Y: Any,
        *,
        n_bootstrap: int = 100,
        random_state: int | None = None,
        confidence_level: float | None = None,
        ci_method: str = "centred",
        **options: Any,
    ) -> MeanVar | MeanVarInterval:
        """Bootstrap mean and variance of the distance between two groups given as arrays.

        Parameters
        ----------
        X, Y
            As for calling the object.
        n_bootstrap
            Number of replicates, each of which draws the cells of X and of Y with replacement.
        random_state
            Seed; ``None`` is ``pertorch.settings.seed``, 0 if not set.
        confidence_level, ci_method
            As for :meth:`pairwise`.
        **options
            Options of the metric, for this call.

        Returns
        -------
        Mean and variance (ddof 0) and, where a level is given, lower and upper end: a named tuple.
        """
        metric, (cells, pairs) = self._with(options), two_groups(X, Y)
        asked = Replicates.asked(True, n_bootstrap, random_state, confidence_level, ci_method)
        found = [float(column) for column in self._columns(metric, cells, pairs, None, False, asked).values()]
        return MeanVar(*found) if confidence_level is None else MeanVarInterval(*found)

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
            pert, pred, ctrl = scaled(fitted, pert, pred, ctrl)
        return float(np.float64(self(pert, pred)) / np.float64(self(ctrl, pred)))

    def pairwise(
        self,
        adata: AnnData,
        groupby: str,
        *,
        groups: Sequence[Any] | None = None,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int | None = None,
        confidence_level: float | None = None,
        ci_method: str = "centred",
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
        n_jobs: int | None = None,
        **options: Any,
    ) -> pd.DataFrame | tuple[pd.DataFrame, ...]:
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
            Seed; ``None`` is ``pertorch.settings.seed``, 0 if not set.
        confidence_level
            With `bootstrap`, the level of a confidence interval, such as 0.95; ``None`` for none.
        ci_method
            How replicates make an interval (Davison and Hinkley 1997): ``"percentile"``, their quantiles;
            ``"centred"``, those moved as far as their mean is from the distance itself; or ``"basic"``, those mirrored
            at the distance. A resample holds cells twice, which adds to most distances: the mean of the replicates, and
            with it their quantiles, lie too high, by more than their width where features are many.
        multi_gpu
            ``None`` or ``True``: all GPUs, ``False``: the first, or a list or comma-separated string of GPU ids.
        show_progressbar
            Whether to show a progress bar; ``None`` as ``pertorch.settings.progress`` says.
        n_jobs
            Accepted for pertpy's sake; torch's own setting of threads is used.
        **options
            Options of the metric, for this call.

        Returns
        -------
        Square table, row = X, column = Y, float64, zero diagonal. With `bootstrap`, tables of the mean and the
        variance (ddof 0) over replicates and, with `confidence_level`, of the lower and the upper end.

        Raises
        ------
        KeyError
            If `groupby` or the matrix's key does not exist.
        ValueError
            If a group has no cells, a value is NaN or infinite, or ``n_bootstrap < 1``.
        """
        del n_jobs
        metric = self._with(options)
        asked = Replicates.asked(bootstrap, n_bootstrap, random_state, confidence_level, ci_method)
        found = Groups.from_obs(adata, groupby, groups)
        device = resolve_devices(multi_gpu)[0]
        pairs = Pairs.all(len(found.names), symmetric=metric.symmetric, device=device)

        def frame(column: Tensor, suffix: str) -> pd.DataFrame:
            name = f"pairwise {self.metric}{suffix}"
            return pairwise_frame(found, pairs, column, name, symmetric=metric.symmetric)

        cells = self._cells(adata, found)
        return frames(self._columns(metric, cells, pairs, multi_gpu, show_progressbar, asked), frame)

    def onesided_distances(
        self,
        adata: AnnData,
        groupby: str,
        selected_group: Any,
        *,
        groups: Sequence[Any] | None = None,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int | None = None,
        confidence_level: float | None = None,
        ci_method: str = "centred",
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
        n_jobs: int | None = None,
        **options: Any,
    ) -> pd.Series | pd.DataFrame | tuple[pd.Series, ...] | tuple[pd.DataFrame, ...]:
        """Distances of all groups to one reference, or to several.

        Parameters
        ----------
        selected_group
            The reference group Y, or a list of them.
        groups
            Groups X, in this order. ``None`` takes all, the reference included, at distance 0.
        adata, groupby, bootstrap, n_bootstrap, random_state, confidence_level, ci_method, multi_gpu, show_progressbar
            As for :meth:`pairwise`.
        n_jobs, **options
            As for :meth:`pairwise`.

        Returns
        -------
        Series over groups named after the reference, or a table with a column per reference. With `bootstrap`, two
        or four of them, as :meth:`pairwise`.

        Raises
        ------
        KeyError
            If `groupby` or the matrix's key does not exist.
        ValueError
            If a group or reference has no cells, a value is NaN or infinite, or ``n_bootstrap < 1``.
        """
        del n_jobs
        metric = self._with(options)
        asked = Replicates.asked(bootstrap, n_bootstrap, random_state, confidence_level, ci_method)
        known = Groups.from_obs(adata, groupby)
        references, single = _contrasts.references(selected_group, known)
        targets = known.names if groups is None else known.select(groups).names
        found = known if groups is None else known.select([*targets, *references])
        pairs = Pairs.onesided([found.index(t) for t in targets], [found.index(r) for r in references])

        def frame(column: Tensor, _: str) -> pd.Series | pd.DataFrame:
            return onesided_frame(found, targets, references, column, single=single)

        cells = self._cells(adata, found)
        return frames(self._columns(metric, cells, pairs, multi_gpu, show_progressbar, asked), frame)

    def contrast_distances(
        self,
        adata: AnnData,
        contrasts: pd.DataFrame,
        *,
        bootstrap: bool = False,
        n_bootstrap: int = 100,
        random_state: int | None = None,
        confidence_level: float | None = None,
        ci_method: str = "centred",
        multi_gpu: MultiGpu = None,
        show_progressbar: bool | None = None,
        **options: Any,
    ) -> pd.DataFrame | tuple[pd.DataFrame, ...]:
        """Distances of the contrasts in a table, one a row.

        Parameters
        ----------
        contrasts
            From :meth:`create_contrasts` or made by hand: first column the target X in the ``obs`` column of that
            name, column ``"reference"`` the reference Y in the same ``obs`` column, any further column a filter on the
            ``obs`` column of its name. A column named after a metric is a result, not a filter.
        adata, bootstrap, n_bootstrap, random_state, confidence_level, ci_method, multi_gpu, show_progressbar, **options
            As for :meth:`pairwise`.

        Returns
        -------
        A copy of `contrasts` with a float64 column named after the metric. With `bootstrap`, two or four of them, as
        :meth:`pairwise`.

        Raises
        ------
        ValueError
            If a column or a value of the table is not in ``adata.obs``, or a contrast has no cells.
        """
        metric = self._with(options)
        asked = Replicates.asked(bootstrap, n_bootstrap, random_state, confidence_level, ci_method)
        _contrasts.validate(adata, contrasts)
        found, pairs = _contrasts.conditions(adata, contrasts)

        def frame(column: Tensor, _: str) -> pd.DataFrame:
            return contrasts.assign(**{self.metric: column.cpu().numpy()})

        cells = self._cells(adata, found)
        return frames(self._columns(metric, cells, pairs, multi_gpu, show_progressbar, asked), frame)

    create_contrasts = staticmethod(_contrasts.create)
    validate_contrasts = staticmethod(_contrasts.validate)

    def _cells(self, adata: AnnData, groups: Groups) -> Cells:
        return Cells(open_matrix(adata, self.layer_key, self.obsm_key), groups)

    def _with(self, options: dict[str, Any]) -> Metric:
        """The metric with the options of one call."""
        return get_metric(self.metric, **{**self._options, **options}) if options else self._metric

    def _columns(
        self,
        metric: Metric,
        cells: Cells,
        pairs: Pairs,
        multi_gpu: MultiGpu,
        progress: bool | None,
        asked: Replicates | None,
    ) -> dict[str, Tensor]:
        """The distances, or what is asked of their replicates: a column each, shape ``(p,)``."""
        values = self._evaluate(metric, cells, pairs, multi_gpu, progress, asked)
        if asked is None:
            return {"": values[:, 0]}
        return asked.summary(values, lambda: self._evaluate(metric, cells, pairs, multi_gpu, False))

    def _evaluate(
        self,
        metric: Metric,
        cells: Cells,
        pairs: Pairs,
        multi_gpu: MultiGpu = None,
        progress: bool | None = None,
        asked: Replicates | None = None,
    ) -> Tensor:
        """Distances of all pairs, shape ``(p, r)``: each distinct pair computed once, a group with itself 0."""
        weights = None if asked is None else asked.weights(cells)
        distinct, position = pairs.distinct(len(cells.groups.names), symmetric=metric.symmetric)
        devices = resolve_devices(multi_gpu)
        n_replicates = asked.n if asked else 1
        if not len(distinct):
            return torch.zeros(len(pairs), n_replicates, dtype=torch.float64)
        total = partial(metric.cost, cells, distinct, n_replicates)
        with progress_bar(total, self.metric, progress, unit=metric.unit) as bar:
            values = metric.evaluate(cells, distinct, devices, weights, None if bar.disable else bar.update)
        if pairs.are_distinct:
            return values
        position = position.to(values.device)
        return torch.where(position[:, None] >= 0, values[position], 0.0)
