"""Iterative solvers: loops in torch over ops, blind to device and storage."""

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
