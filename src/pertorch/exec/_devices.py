"""From what a user says (``multi_gpu=``, ``--device``) to a list of torch devices."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from pertorch._settings import settings

log = logging.getLogger("pertorch")

CPU_BYTES, GPU_BYTES = 10**9, 8 * 10**9  # of dense slabs, where settings do not say

MultiGpu = bool | Sequence[int] | str | None


def parse_device(text: str) -> list[torch.device]:
    """Devices named by ``auto``, ``cpu``, ``cuda`` or ``cuda:0,2``.

    Raises
    ------
    ValueError
        If the text names no device, or one that this machine lacks.

    Examples
    --------
    >>> parse_device("cpu")
    [device(type='cpu')]
    """
    if text == "cpu":
        return [torch.device("cpu")]
    if text == "auto":
        return _cuda(range(torch.cuda.device_count())) or [torch.device("cpu")]
    kind, _, ids = text.partition(":")
    if kind != "cuda":
        raise ValueError(f"device={text!r} is not understood: use 'auto', 'cpu', 'cuda' or 'cuda:0,2'.")
    if not torch.cuda.is_available():
        raise ValueError(f"device={text!r} was asked for, but PyTorch finds no CUDA device here: use 'cpu' or 'auto'.")
    return _cuda(_ids(ids) if ids else range(torch.cuda.device_count()))


def resolve_devices(multi_gpu: MultiGpu = None) -> list[torch.device]:
    """Devices for one call: `multi_gpu` as in the API, within what `settings.device` allows.

    ``None`` and ``True`` take every device, ``False`` the first, a list or a string like ``"0,2"`` those GPUs.
    On a machine without a GPU, ``True`` computes on the CPU and says so in the log, so that one script serves both.
    """
    devices = parse_device(settings.device)
    if multi_gpu is None:
        return devices
    if isinstance(multi_gpu, bool):
        if multi_gpu and devices[0].type == "cpu":
            log.warning("multi_gpu=True, but no CUDA device is in use: computing on the CPU.")
        return devices if multi_gpu else devices[:1]
    if not isinstance(multi_gpu, str | Sequence):
        raise ValueError(f"multi_gpu={multi_gpu!r} is not understood: pass a list of GPU ids, such as [0], or None.")
    ids = _ids(multi_gpu) if isinstance(multi_gpu, str) else list(multi_gpu)
    return _cuda(ids)


def own_device(kind: str) -> torch.device:
    """The device of a kind that this process works on: of several GPUs the current one, as of a worker of Dask."""
    return torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)


def memory_budget(device: torch.device) -> int:
    """Bytes that dense slabs of cells may take on a device: see `settings.memory_gb`."""
    if settings.memory_gb is not None:
        return int(settings.memory_gb * 1e9)
    if device.type == "cpu":
        return CPU_BYTES
    return min(GPU_BYTES, torch.cuda.get_device_properties(device).total_memory // 4)


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"GPU ids {text!r} are not understood: use a comma-separated list such as '0,2'.") from None


def _cuda(ids: Sequence[int]) -> list[torch.device]:
    count = torch.cuda.device_count()
    if isinstance(ids, list) and not ids:
        raise ValueError("multi_gpu=[] names no GPU: pass None for all of them or False for the first.")
    for i in ids:
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < count:
            raise ValueError(f"GPU id {i!r} does not exist: this machine has {count} CUDA device(s), numbered from 0.")
    return [torch.device("cuda", i) for i in dict.fromkeys(ids)]
