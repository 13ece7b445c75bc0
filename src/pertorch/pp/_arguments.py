"""What a caller may ask for. Every check here runs before any work."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any


def positive_threshold(value: Any, name: str = "assignment_threshold") -> float:
    """A count that can be required of a guide.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not above 0, or not finite: at 0 or below, every guide would be assigned to every cell, and the
        answer of a sparse matrix would depend on which zeros it happens to store.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a number of counts.")
    threshold = float(value)
    if not 0 < threshold < float("inf"):
        raise ValueError(
            f"{name}={value!r} must be above 0 and finite: a count of 0 means that the guide was not seen, so a "
            "threshold that 0 reaches would assign every guide to every cell. Use 1 for 'seen at all'."
        )
    return threshold


def key(value: Any, name: str) -> str:
    """A column, layer or label that will be written.

    Raises
    ------
    TypeError
        If it is not a string.
    ValueError
        If it is empty.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a string.")
    if not value:
        raise ValueError(f"{name} is empty: pass a name.")
    return value


def free_label(label: str, name: str, guides: Iterable[str]) -> None:
    """Refuse a label that a guide already has.

    Raises
    ------
    ValueError
        If `label` is the name of a guide.
    """
    if label in guides:
        raise ValueError(f"{name}={label!r} is also the name of a guide: choose another label.")
