"""Tools: AnnData in, frames or AnnData out."""

from pertorch.tl._distance import Distance
from pertorch.tl._distance_test import DistanceTest
from pertorch.tl._markers import perturbation_markers
from pertorch.tl._mixscape import Mixscale, Mixscape
from pertorch.tl._power import distance_power
from pertorch.tl._power_mixscape import mixscape_power
from pertorch.tl._replicates import MeanVar, MeanVarInterval

__all__ = [
    "Distance",
    "DistanceTest",
    "MeanVar",
    "MeanVarInterval",
    "Mixscale",
    "Mixscape",
    "distance_power",
    "mixscape_power",
    "perturbation_markers",
]
