"""Resampling as data: weights, and the random streams behind them."""

from pertorch.stats._permutations import Permutations
from pertorch.stats._streams import shuffled, uniform
from pertorch.stats._weights import Bootstrap, Weights

__all__ = ["Bootstrap", "Permutations", "Weights", "shuffled", "uniform"]
