"""Where work runs: devices, and work split over them."""

from pertorch.exec._devices import MultiGpu, memory_budget, parse_device, resolve_devices
from pertorch.exec._progress import progress_bar
from pertorch.exec._split import map_devices
from pertorch.exec._threads import map_threads
from pertorch.exec._upload import upload

__all__ = [
    "MultiGpu",
    "map_devices",
    "map_threads",
    "memory_budget",
    "parse_device",
    "progress_bar",
    "resolve_devices",
    "upload",
]
