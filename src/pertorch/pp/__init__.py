"""Preprocessing: guide assignment."""

from pertorch.pp._guides import GuideAssignment

__all__ = ["GuideAssignment"]
