"""Entropic optimal transport between many pairs of weighted clouds. The README beside this file derives it."""

from pertorch.solvers.sinkhorn._clouds import Clouds
from pertorch.solvers.sinkhorn._costs import Costs, costs
from pertorch.solvers.sinkhorn._loop import Rule
from pertorch.solvers.sinkhorn._solve import Sinkhorn, solve

__all__ = ["Clouds", "Costs", "Rule", "Sinkhorn", "costs", "solve"]
