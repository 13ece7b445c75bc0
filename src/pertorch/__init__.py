"""Perturbation analysis for single-cell screens, on any machine PyTorch runs on."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pertorch import ds, pl, pp, tl
    from pertorch._settings import settings
    from pertorch.pp import GuideAssignment
    from pertorch.tl import (
        Distance,
        DistanceTest,
        Mixscale,
        Mixscape,
        distance_power,
        mixscape_power,
        perturbation_markers,
    )

__version__ = "0.1.0"
__all__ = [
    "Distance",
    "DistanceTest",
    "GuideAssignment",
    "Mixscale",
    "Mixscape",
    "__version__",
    "distance_power",
    "ds",
    "mixscape_power",
    "perturbation_markers",
    "pl",
    "pp",
    "settings",
    "tl",
]

# What is said goes to this logger; who hears it is for the application to say (see docs/settings.md).
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "Distance": "pertorch.tl",
    "DistanceTest": "pertorch.tl",
    "GuideAssignment": "pertorch.pp",
    "Mixscale": "pertorch.tl",
    "Mixscape": "pertorch.tl",
    "distance_power": "pertorch.tl",
    "mixscape_power": "pertorch.tl",
    "perturbation_markers": "pertorch.tl",
    "settings": "pertorch._settings",
}
_MODULES = ("data", "ds", "metrics", "pl", "pp", "stats", "tl")


def __getattr__(name: str) -> Any:
    """Import on first use: ``import pertorch`` itself loads neither torch nor anndata."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"pertorch.{name}")
    raise AttributeError(f"module 'pertorch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
