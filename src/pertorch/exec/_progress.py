"""One way to show progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from pertorch._settings import settings


def progress_bar(total: Callable[[], int], what: str, show: bool | None = None) -> Any:
    """A tqdm bar of so many steps; silent unless `show`, or `settings.progress` where `show` is None."""
    shown = settings.progress if show is None else show
    return tqdm(total=total() if shown else None, desc=what, disable=not shown, unit_scale=True)
