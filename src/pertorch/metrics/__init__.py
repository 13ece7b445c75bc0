"""Distances between groups of cells, by name.

A metric is one small final class: it says how to evaluate pairs of groups on tensors. It never learns which verb asked,
how the matrix is stored, or what a replicate stands for.
"""

from __future__ import annotations

from pertorch.metrics._base import Metric, Needs
from pertorch.metrics._centroid import (
    CentroidMetric,
    Euclidean,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
from pertorch.metrics._classifier import ClassifierCP, ClassifierProba
from pertorch.metrics._correlation import R2, Cosine, KendallTau, Pearson, Spearman
from pertorch.metrics._counts import KolmogorovSmirnov, NegativeBinomial
from pertorch.metrics._density import MeanVarDistribution
from pertorch.metrics._kernel import EDistance, KernelMetric, MeanPairwise
from pertorch.metrics._mahalanobis import Mahalanobis
from pertorch.metrics._mmd import MMD
from pertorch.metrics._moments import MomentMetric, SymmetricKL, WelchT
from pertorch.metrics._null import kernel_nulls
from pertorch.metrics._registry import METRICS, MetricInfo, get_metric, list_metrics, register
from pertorch.metrics._resampled import ArrayMetric
from pertorch.metrics._transport import Wasserstein

__all__ = [
    "METRICS",
    "ArrayMetric",
    "CentroidMetric",
    "KernelMetric",
    "Metric",
    "MetricInfo",
    "MomentMetric",
    "Needs",
    "get_metric",
    "kernel_nulls",
    "list_metrics",
    "register",
]

_ALL: tuple[type[Metric], ...] = (
    EDistance,
    MeanPairwise,
    MMD,
    Euclidean,
    RootMeanSquaredError,
    MeanSquaredError,
    MeanAbsoluteError,
    Pearson,
    Spearman,
    KendallTau,
    Cosine,
    R2,
    SymmetricKL,
    WelchT,
    KolmogorovSmirnov,
    NegativeBinomial,
    ClassifierProba,
    ClassifierCP,
    MeanVarDistribution,
    Mahalanobis,
    Wasserstein,
)
for _metric in _ALL:
    register(_metric)
