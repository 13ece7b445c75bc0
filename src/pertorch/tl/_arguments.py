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
