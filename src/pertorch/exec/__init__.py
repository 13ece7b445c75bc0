"""Where work runs: devices, and work split over them."""

from pertorch.exec._devices import MultiGpu, parse_device, resolve_devices
from pertorch.exec._progress import progress_bar
from pertorch.exec._split import map_devices

__all__ = ["MultiGpu", "map_devices", "parse_device", "progress_bar", "resolve_devices"]
