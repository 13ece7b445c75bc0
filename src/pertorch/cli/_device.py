"""Where a command computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pertorch._settings import settings
from pertorch.exec import parse_device


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """Compute there, and set things back afterwards.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    parse_device(device)
    before, settings.device = settings.device, device
    try:
        yield
    finally:
        settings.device = before
