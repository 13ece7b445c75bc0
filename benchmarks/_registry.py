"""What can be measured."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """One workload, ready to run.

    Attributes
    ----------
    ours
        What is measured.
    peer
        Makes the peer's call for the same data; raises ImportError where it is not installed.
    peer_package
        Distribution whose version is recorded.
    difference
        How far two results are apart, as one number to record; ``None`` where they are not comparable.
    """

    ours: Call
    peer: Callable[[], Call] | None = None
    peer_package: str = ""
    difference: Callable[[Any, Any], float] | None = None


@dataclass(frozen=True)
class Case:
    """A workload in several sizes, on one kind of device."""

    name: str
    sizes: Sequence[tuple[int, ...]]
    device: str
    setup: Callable[..., Work]


CASES: dict[str, Case] = {}


def case(name: str, *, sizes: Sequence[tuple[int, ...]], device: str = "cpu") -> Callable[..., Callable[..., Work]]:
    """Register a function that takes the numbers of a size and sets up the work; `device` is ``cpu`` or ``cuda``."""

    def register(setup: Callable[..., Work]) -> Callable[..., Work]:
        CASES[name] = Case(name, sizes, device, setup)
        return setup

    return register


def load_cases() -> dict[str, Case]:
    """Import every module of ``benchmarks.cases``."""
    package = importlib.import_module("benchmarks.cases")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return CASES
