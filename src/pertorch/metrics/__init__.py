"""Distances between groups of cells, by name.

A metric is one small final class: it says how to evaluate pairs of groups on tensors. It never learns which verb asked,
how the matrix is stored, or what a replicate stands for.
"""

from __future__ import annotations

from typing import Any

from pertorch.metrics._base import Metric
from pertorch.metrics._centroid import CENTROID_METRICS
from pertorch.metrics._kernel import EDistance, KernelMetric, MeanPairwise
from pertorch.metrics._mmd import MMD
from pertorch.metrics._null import kernel_nulls

__all__ = ["METRICS", "KernelMetric", "Metric", "get_metric", "kernel_nulls"]

_ALL: tuple[type[Metric], ...] = (EDistance, MeanPairwise, MMD, *CENTROID_METRICS)
METRICS: dict[str, type[Metric]] = {metric.name: metric for metric in _ALL}


def get_metric(name: str, **options: Any) -> Metric:
    """Make a metric from its name and options.

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
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes no options"
            raise TypeError(f"metric {name!r} has no option {option!r}: {takes}.")
    return METRICS[name](**options)
