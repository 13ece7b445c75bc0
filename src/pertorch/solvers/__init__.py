"""Iterative solvers: loops in torch over ops, blind to device and storage.

Guides (what this package exports): ``_guide_mixture`` fits the Poisson-Gauss mixture of ``_poisson_gauss``, from the
starts of ``_splits`` to its ``modes``, and sets thresholds (``_signal_threshold``); ``_gauss``, ``_depth`` and
``_beta`` are crispat's other mixtures. ``_newton`` minimises all of them.

Mixscape: ``projection`` onto each target's line, ``gauss_mixture`` along it, ``responders`` both in turn;
``lda_axes`` and ``lda`` for discriminants; ``pca``.

Distances: ``sinkhorn``, ``logistic``, ``negative_binomial``.
"""

from pertorch.solvers._beta import BetaMixture, fit_beta
from pertorch.solvers._depth import DepthMixtures, fit_depth_mixture
from pertorch.solvers._depth_families import FAMILIES, Family
from pertorch.solvers._depth_model import Strata
from pertorch.solvers._gauss import GaussMixtures, fit_gauss
from pertorch.solvers._guide_mixture import GuideMixtures, fit_guides
from pertorch.solvers._poisson_gauss import GuideParameters, log_odds, signal_floor

__all__ = [
    "FAMILIES",
    "BetaMixture",
    "DepthMixtures",
    "Family",
    "GaussMixtures",
    "GuideMixtures",
    "GuideParameters",
    "Strata",
    "fit_beta",
    "fit_depth_mixture",
    "fit_gauss",
    "fit_guides",
    "log_odds",
    "signal_floor",
]
