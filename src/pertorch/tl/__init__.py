"""Tools: AnnData in, frames or AnnData out."""

from pertorch.tl._distance import Distance, MeanVar
from pertorch.tl._distance_test import DistanceTest
from pertorch.tl._markers import perturbation_markers
from pertorch.tl._mixscape import Mixscale, Mixscape

__all__ = ["Distance", "DistanceTest", "MeanVar", "Mixscale", "Mixscape", "perturbation_markers"]
