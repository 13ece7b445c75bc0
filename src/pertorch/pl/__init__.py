"""Plots: frames or AnnData in, Axes or a Figure out. matplotlib is imported when one is drawn."""

from pertorch.pl._assignment import agreement, guide_heatmap, guide_histogram, guides_per_cell
from pertorch.pl._classes import barplot, violin
from pertorch.pl._distances import distance_heatmap, onesided_distances, volcano
from pertorch.pl._embedding import lda
from pertorch.pl._expression import expression_heatmap
from pertorch.pl._power import power_curve
from pertorch.pl._scores import mixscale_ridge, perturbscore

__all__ = [
    "agreement",
    "barplot",
    "distance_heatmap",
    "expression_heatmap",
    "guide_heatmap",
    "guide_histogram",
    "guides_per_cell",
    "lda",
    "mixscale_ridge",
    "onesided_distances",
    "perturbscore",
    "power_curve",
    "violin",
    "volcano",
]
