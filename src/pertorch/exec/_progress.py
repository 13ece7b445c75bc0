"""One way to show progress."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from pertorch._settings import settings


def progress_bar(total: int, what: str, show: bool | None = None) -> Any:
    """A tqdm bar of `total` steps; silent unless `show`, or `settings.progress` where `show` is None."""
    return tqdm(total=total, desc=what, disable=not (settings.progress if show is None else show), unit_scale=True)
