"""Iterative solvers: loops in torch over ops, blind to device and storage."""

from pertorch.solvers._guide_mixture import GuideMixtures, fit_guides

__all__ = ["GuideMixtures", "fit_guides"]
