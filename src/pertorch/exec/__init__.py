"""Where work runs: devices, and work split over them."""

from pertorch.exec._chunks import FAN_IN, TASKS, compute_tasks, map_reduce, reduce_tasks, shared, task
from pertorch.exec._context import in_context
from pertorch.exec._devices import MultiGpu, memory_budget, own_device, parse_device, resolve_devices
from pertorch.exec._download import download
from pertorch.exec._memory import Kept, may_keep, with_less_memory
from pertorch.exec._progress import progress_bar, steps, track
from pertorch.exec._read_ahead import read_ahead
from pertorch.exec._split import map_devices
from pertorch.exec._threads import map_ahead, map_threads
from pertorch.exec._triton import current_device, runs_triton
from pertorch.exec._upload import upload

__all__ = [
    "FAN_IN",
    "TASKS",
    "Kept",
    "MultiGpu",
    "compute_tasks",
    "current_device",
    "download",
    "in_context",
    "map_ahead",
    "map_devices",
    "map_reduce",
    "map_threads",
    "may_keep",
    "memory_budget",
    "own_device",
    "parse_device",
    "progress_bar",
    "read_ahead",
    "reduce_tasks",
    "resolve_devices",
    "runs_triton",
    "shared",
    "steps",
    "task",
    "track",
    "upload",
    "with_less_memory",
]
