"""Metrics by name."""

from __future__ import annotations

import inspect
import logging
from typing import Any, NamedTuple, TypeVar, final

import numpy as np

from pertorch.metrics._base import Metric, Needs

METRICS: dict[str, type[Metric]] = {}
# Arguments of pertpy's constructor, which every metric accepts, and their defaults there.
ANYWHERE: dict[str, Any] = {"agg_fct": np.mean, "cell_wise_metric": "euclidean"}
log = logging.getLogger("pertorch")
M = TypeVar("M", bound=type[Metric])


@final
class MetricInfo(NamedTuple):
    """What one metric is.

    Attributes
    ----------
    name
        What :class:`pertorch.Distance` knows it by.
    symmetric
        Whether d(X, Y) = d(Y, X).
    is_distance
        Whether it is 0 between a group and itself and grows as two groups part; otherwise it is a score.
    needs
        What it asks of the data: fewest cells in X and Y, fewest features, raw counts, more cells than features.
    options
        Names of its options.
    summary
        One sentence.
    """

    name: str
    symmetric: bool
    is_distance: bool
    needs: Needs
    options: tuple[str, ...]
    summary: str


def register(metric: M) -> M:
    """Make a metric available by its name, in every verb: a class decorator.

    Parameters
    ----------
    metric
        Subclass of :class:`Metric`, or, more shortly, of :class:`CentroidMetric`, :class:`MomentMetric` or
        :class:`ArrayMetric`, with a class attribute ``name``.

    Raises
    ------
    ValueError
        If it has no name, something is missing from it, or another metric has that name.

    Examples
    --------
    >>> import numpy as np, pertorch
    >>> from pertorch.metrics import ArrayMetric, register
    >>> @register
    ... class MedianGap(ArrayMetric):
    ...     "Largest gap between the medians."
    ...     name = "median_gap"
    ...     def between(self, x, y):
    ...         return abs(np.median(x, axis=0) - np.median(y, axis=0)).max()
    >>> pertorch.Distance("median_gap")(np.zeros((3, 2)), np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]))
    5.0
    """
    name = getattr(metric, "name", None)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{metric.__name__} has no name: give it a class attribute such as name = 'my_metric'.")
    if inspect.isabstract(metric):
        missing = ", ".join(sorted(metric.__abstractmethods__))
        raise ValueError(f"{metric.__name__} does not say how to do: {missing}.")
    known = METRICS.get(name)
    # The same class made anew, as when a notebook's cell runs again, takes the place of the old one.
    if known is not None and (known.__module__, known.__qualname__) != (metric.__module__, metric.__qualname__):
        raise ValueError(f"name={name!r} is taken by {known.__module__}.{known.__qualname__}: choose another.")
    METRICS[name] = metric
    return metric


def get_metric(name: str, **options: Any) -> Metric:
    """Make a metric from its name and options.

    ``agg_fct`` and ``cell_wise_metric`` are accepted for every metric, as pertpy's constructor does. Where they mean
    nothing they change nothing; the log says so, unless they are pertpy's default or ``None``.

    Raises
    ------
    ValueError
        If the name is unknown, or an option's value is not one the metric takes.
    TypeError
        If the metric has no such option.
    """
    if name not in METRICS:
        raise ValueError(f"metric={name!r} is not one of: {', '.join(METRICS)}.")
    known = METRICS[name].options()
    for option in list(options):
        if option in ANYWHERE and (option not in known or options[option] is None):
            value = options.pop(option)
            if value is not None and value is not ANYWHERE[option] and value != ANYWHERE[option]:
                log.warning("%s=%r has no meaning for metric %r and changes nothing.", option, value, name)
        elif option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes no options"
            raise TypeError(f"metric {name!r} has no option {option!r}: {takes}.")
    return METRICS[name](**options)


def list_metrics() -> list[MetricInfo]:
    """What metrics there are, one's own included.

    Examples
    --------
    >>> {m.name: m.needs.left_cells for m in list_metrics()}["t_test"]
    2
    >>> import pandas as pd
    >>> bool(pd.DataFrame(list_metrics()).set_index("name").loc["r2_distance", "symmetric"])
    False
    """
    return [
        MetricInfo(
            name, m.symmetric, m.is_distance, m.needs, tuple(m.options()), (inspect.getdoc(m) or "").split("\n")[0]
        )
        for name, m in METRICS.items()
    ]
