"""Chunk map, group reduce: sums and moments over the rows of each group, in float64 and a fixed order."""

from pertorch.ops.segment._csr import csr_group_moments, csr_group_sums
from pertorch.ops.segment._partial import (
    PartialMoments,
    PartialSums,
    chunk_moments,
    chunk_sums,
    merge_moments,
    merge_sums,
)
from pertorch.ops.segment._ragged import batches, expand, join, ragged_max, ragged_sum
from pertorch.ops.segment._stored import stored_sums
from pertorch.ops.segment._torch import Moments, Slab, group_moments, group_sums, group_weights, pieces

__all__ = [
    "Moments",
    "PartialMoments",
    "PartialSums",
    "Slab",
    "batches",
    "chunk_moments",
    "chunk_sums",
    "csr_group_moments",
    "csr_group_sums",
    "expand",
    "group_moments",
    "group_sums",
    "group_weights",
    "join",
    "merge_moments",
    "merge_sums",
    "pieces",
    "ragged_max",
    "ragged_sum",
    "stored_sums",
]
