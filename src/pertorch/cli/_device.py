"""Where a command computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pertorch._settings import settings
from pertorch.exec import parse_device


@contextmanager
def computing_on(device: str | None) -> Iterator[None]:
    """Compute there, and set things back afterwards; ``None`` is as the settings, such as ``PERTORCH_DEVICE``, say.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    parse_device(device or settings.device)
    with settings.override(**({} if device is None else {"device": device})):
        yield
