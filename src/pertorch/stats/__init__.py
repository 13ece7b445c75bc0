"""Resampling as data: weights, and the random streams behind them."""

from pertorch.stats._streams import uniform
from pertorch.stats._weights import Bootstrap, Weights

__all__ = ["Bootstrap", "Weights", "uniform"]
