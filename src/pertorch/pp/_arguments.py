"""What a caller may ask for. Every check here runs before any work."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from pertorch.data import nearest
from pertorch.pp._labels import Wording


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


def whole(value: Any, name: str, least: int = 1) -> int:
    """A number of things.

    Raises
    ------
    TypeError
        If it is not a whole number.
    ValueError
        If it is below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a whole number.")
    if value < least:
        raise ValueError(f"{name}={value!r} must be at least {least}.")
    return int(value)


def between(value: Any, name: str, low: float, high: float) -> float:
    """A number strictly between two others.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not in between.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a number.")
    number = float(value)
    if not low < number < high:
        bounds = f"above {low:g} and below {high:g}" if high < float("inf") else f"above {low:g} and finite"
        raise ValueError(f"{name}={value!r} must be {bounds}.")
    return number


def one_of(value: Any, name: str, known: Iterable[str]) -> str:
    """One of the names there are.

    Raises
    ------
    ValueError
        If it is none of them; the message names the nearest.
    """
    if value not in list(known):
        raise ValueError(f"{name}={value!r} is not known: {nearest(value, known)}")
    return str(value)


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


def wording(none: Any, joint: Any, many: Any, most: Any) -> Wording:
    """Labels as the public calls name them, checked."""
    if not isinstance(joint, str):
        raise TypeError(f"multiple_grna_assignment_string={joint!r} is a {type(joint).__name__}: pass a string.")
    return Wording(
        none=key(none, "no_grna_assigned_key"),
        joint=joint,
        many=key(many, "multiple_grna_assigned_key"),
        most=whole(most, "max_assignments_per_cell"),
    )


def free_labels(wording: Wording, guides: Iterable[str]) -> None:
    """See :func:`free_label`."""
    free_label(wording.none, "no_grna_assigned_key", guides)
    free_label(wording.many, "multiple_grna_assigned_key", guides)
