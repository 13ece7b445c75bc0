"""Resampling as data: weights, and the random streams behind them; tests from sufficient statistics."""

from pertorch.stats._permutations import Permutations
from pertorch.stats._streams import shuffled, uniform
from pertorch.stats._two_sample import Moments, benjamini_hochberg, log_fold_change, t_test, wilcoxon
from pertorch.stats._weights import Bootstrap, Weights

__all__ = [
    "Bootstrap",
    "Moments",
    "Permutations",
    "Weights",
    "benjamini_hochberg",
    "log_fold_change",
    "shuffled",
    "t_test",
    "uniform",
    "wilcoxon",
]
