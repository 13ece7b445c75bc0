"""One case in one size, in a process of its own."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks._registry import Call, Case, Work


def time_case(case: Case, size: tuple[int, ...], *, repeat: int, with_peer: bool) -> dict[str, Any]:
    """Seconds of ours and the peer's, turn about in one process after a first call of each."""
    work = _set_up(case, size)
    peer, why_not = _peer(work) if with_peer else (None, None)
    _reset_gpu_peak(case)
    result, first = _timed(work.ours)
    record: dict[str, Any] = {"ours": {"first_s": first, **_gpu_peak(case)}}
    if peer:
        peer_result, peer_first = _timed(peer)
        record["peer"] = {"package": _versioned(work.peer_package), "first_s": peer_first}
        if work.difference:
            record["difference"] = work.difference(result, peer_result)
    elif why_not:
        record["peer_missing"] = why_not
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(repeat):
        seconds["ours"].append(_timed(work.ours)[1])
        if peer:
            seconds["peer"].append(_timed(peer)[1])
    for who, all_s in seconds.items():
        if all_s:
            record[who] |= {"median_s": statistics.median(all_s), "all_s": all_s}
    if peer:
        record["ratio"] = record["peer"]["median_s"] / record["ours"]["median_s"]
    return record


def _versioned(package: str) -> str:
    import pertorch

    # ours may run from a checkout
    return f"{package} {pertorch.__version__ if package == 'pertorch' else version(package)}"


def measure_memory(case: Case, size: tuple[int, ...], who: str) -> dict[str, int]:
    """Peak of the process during a first call, and how far that is above what it held before."""
    work = _set_up(case, size)
    call = work.ours if who == "ours" else _peer(work)[0]
    if call is None:
        return {}
    before = _reset_peak()
    call()
    peak = _peak()
    return {"peak_bytes": peak, "peak_above_start_bytes": peak - before}


def _set_up(case: Case, size: tuple[int, ...]) -> Work:
    import pertorch

    pertorch.settings.device = case.device
    return case.setup(*size)


def _peer(work: Work) -> tuple[Call | None, str | None]:
    try:
        return (work.peer(), None) if work.peer else (None, None)
    except ImportError as error:
        return None, str(error)


def _timed(call: Call) -> tuple[Any, float]:
    _synchronize()
    start = time.perf_counter()
    result = call()
    _synchronize()
    return result, time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_gpu_peak(case: Case) -> None:
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _gpu_peak(case: Case) -> dict[str, int]:
    return {"peak_gpu_bytes": torch.cuda.max_memory_allocated()} if case.device == "cuda" else {}


def _reset_peak() -> int:
    """Forget the peak of the set-up, where the system can (Linux), and say what is held now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
