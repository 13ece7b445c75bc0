"""Tools: AnnData in, frames or AnnData out."""

from pertorch.tl._distance import Distance, MeanVar
from pertorch.tl._distance_test import DistanceTest

__all__ = ["Distance", "DistanceTest", "MeanVar"]
