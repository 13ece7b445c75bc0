"""What a user sets once: where to compute and what to show."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass
class Settings:
    """Process-wide settings, read at the start of each call.

    Attributes
    ----------
    device
        ``"auto"`` (every CUDA device, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:0,2"``.
        Environment variable ``PERTORCH_DEVICE``.
    progress
        Whether calls that take long show a progress bar where they are not told otherwise.

    Examples
    --------
    >>> import pertorch
    >>> pertorch.settings.device
    'auto'
    """

    device: str = field(default_factory=lambda: os.environ.get("PERTORCH_DEVICE", "auto"))
    progress: bool = False


settings = Settings()
