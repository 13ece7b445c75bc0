"""What a caller may ask for. Every check here runs before any work."""

from __future__ import annotations

import operator
from typing import Any


def whole_number(value: Any, name: str, at_least: int | None = None) -> int:
    """An integer of Python's or numpy's, as one of Python's.

    Raises
    ------
    TypeError
        If it is not a whole number.
    ValueError
        If it is less than `at_least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a whole number.") from None
    if at_least is not None and number < at_least:
        raise ValueError(f"{name}={number} must be at least {at_least}.")
    return number


def level_between(confidence_level: float) -> None:
    """Check the level of an interval.

    Raises
    ------
    ValueError
        If it does not lie between 0 and 1.
    """
    if not (isinstance(confidence_level, int | float) and 0 < confidence_level < 1):
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1, such as 0.95.")


def positional(args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor by name: a peer's ``layer_key, obsm_key``, or pertpy's order, which a function begins.

    Raises
    ------
    TypeError
        If there are too many, or one is given twice.
    """
    pertpy = ("agg_fct", "layer_key", "obsm_key", "cell_wise_metric")
    names = pertpy if args and callable(args[0]) else pertpy[1:3]
    if len(args) > len(names):
        takes = f"metric, {', '.join(names)}"
        raise TypeError(f"Distance takes {takes} by position, and was given {len(args) + 1} arguments.")
    given = dict(zip(names, args, strict=False))
    if twice := given.keys() & named.keys():
        raise TypeError(f"{', '.join(sorted(twice))} was given by position and by name.")
    return given | named
