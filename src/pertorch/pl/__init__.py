"""Plots: frames or AnnData in, Axes or a Figure out. matplotlib is imported when one is drawn."""

from pertorch.pl._agreement import agreement
from pertorch.pl._barplot import barplot
from pertorch.pl._distance_heatmap import distance_heatmap
from pertorch.pl._embedding import lda
from pertorch.pl._expression import expression_heatmap
from pertorch.pl._guide_heatmap import guide_heatmap
from pertorch.pl._guide_histogram import guide_histogram
from pertorch.pl._guides_per_cell import guides_per_cell
from pertorch.pl._mixscale_ridge import mixscale_ridge
from pertorch.pl._onesided import onesided_distances
from pertorch.pl._perturbscore import perturbscore
from pertorch.pl._power import power_curve
from pertorch.pl._violin import violin
from pertorch.pl._volcano import volcano

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
