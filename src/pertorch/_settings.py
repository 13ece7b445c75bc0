"""What a user sets once: where to compute and what to show."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _memory() -> float | None:
    text = os.environ.get("PERTORCH_MEMORY_GB")
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"PERTORCH_MEMORY_GB={text!r} is not a number of gigabytes, such as 4.") from None


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
    memory_gb
        Gigabytes that dense slabs of cells may take on each device, the copies that a metric makes of them included.
        ``None``: 1 on a CPU, and on a GPU 8 or a quarter of its memory, whichever is less. Environment variable
        ``PERTORCH_MEMORY_GB``.

    Examples
    --------
    >>> import pertorch
    >>> pertorch.settings.device
    'auto'
    """

    device: str = field(default_factory=lambda: os.environ.get("PERTORCH_DEVICE", "auto"))
    progress: bool = False
    memory_gb: float | None = field(default_factory=_memory)


settings = Settings()
