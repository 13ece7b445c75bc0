"""Resampling as data: weights, and the random streams behind them; tests from sufficient statistics."""

from pertorch.stats._intervals import METHODS as CI_METHODS
from pertorch.stats._intervals import bootstrap_interval, wilson_interval
from pertorch.stats._permutations import Permutations, indicators
from pertorch.stats._streams import shuffled, uniform
from pertorch.stats._subsamples import subsamples
from pertorch.stats._two_sample import Moments, benjamini_hochberg, log_fold_change, t_test, wilcoxon
from pertorch.stats._weights import Bootstrap, Columns, Given, Weights

__all__ = [
    "CI_METHODS",
    "Bootstrap",
    "Columns",
    "Given",
    "Moments",
    "Permutations",
    "Weights",
    "benjamini_hochberg",
    "bootstrap_interval",
    "indicators",
    "log_fold_change",
    "shuffled",
    "subsamples",
    "t_test",
    "uniform",
    "wilcoxon",
    "wilson_interval",
]
