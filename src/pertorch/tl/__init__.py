"""Tools: AnnData in, frames or AnnData out."""

from pertorch.tl._distance import Distance, MeanVar

__all__ = ["Distance", "MeanVar"]
