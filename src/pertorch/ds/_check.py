"""Arguments in their ranges, or an error that names them."""

from __future__ import annotations

import math
from numbers import Integral, Real


def whole_numbers(least: int = 1, **values: int) -> None:
    """Check that each argument is a whole number of at least `least`.

    Examples
    --------
    >>> whole_numbers(n_cells=0)
    Traceback (most recent call last):
    ValueError: n_cells=0 must be a whole number of at least 1.
    """
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")


def in_range(low: float, high: float, **values: float) -> None:
    """Check that each argument is a finite number in [`low`, `high`].

    Examples
    --------
    >>> in_range(0, 1, responder_fraction=1.5)
    Traceback (most recent call last):
    ValueError: responder_fraction=1.5 must be a number from 0 to 1.
    """
    for name, value in values.items():
        if not isinstance(value, Real) or not math.isfinite(value) or not low <= value <= high:
            bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ValueError(f"{name}={value!r} must be a number {bounds}.")
