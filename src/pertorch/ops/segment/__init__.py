"""Chunk map, group reduce: sums over the rows of each group, in float64 and a fixed order."""

from pertorch.ops.segment._torch import group_sums

__all__ = ["group_sums"]
