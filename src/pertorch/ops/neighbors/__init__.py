"""The nearest of a set of reference points: exact by matrix products and top-k, or approximate through an index."""

from pertorch.ops.neighbors._approximate import ALGORITHMS, check_backend
from pertorch.ops.neighbors._search import nearest_neighbors

__all__ = ["ALGORITHMS", "check_backend", "nearest_neighbors"]
