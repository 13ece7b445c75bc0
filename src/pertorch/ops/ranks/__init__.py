"""Order statistics: ranks, Kendall's tau, tallies of distinct values, Kolmogorov and Smirnov's statistic."""

from pertorch.ops.ranks._ks import DistributionFunctions
from pertorch.ops.ranks._ranks import average_ranks, dense_ranks, kendall_tau
from pertorch.ops.ranks._tally import Tallies, tally, value_table

__all__ = [
    "DistributionFunctions",
    "Tallies",
    "average_ranks",
    "dense_ranks",
    "kendall_tau",
    "tally",
    "value_table",
]
