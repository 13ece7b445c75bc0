"""The runner: each case in each size in a process of its own, a table here, JSON where asked."""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._registry import Case, load_cases

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    options = _parser().parse_args()
    if options.preload:
        runpy.run_path(options.preload)
    cases = load_cases()
    if options.worker:
        _work(options, cases)
    elif options.list:
        for case in cases.values():
            print(f"{case.name:32s} {case.device:5s} {'  '.join(map(_label, case.sizes))}")
    else:
        _run_all(options, cases)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and peak memory, beside a peer.")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="cases to run (default: all that this machine can)")
    parser.add_argument("--size", type=_size, metavar="NxM", help="only this size, such as 5000x25; need not be listed")
    parser.add_argument("--peer", action="store_true", help="time the peer too, turn about in the same process")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="calls that the median is of (default: 5)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the results")
    parser.add_argument("--preload", metavar="FILE.py", help="Python to run first in every process, for a peer's sake")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", choices=["ours", "peer"], help=argparse.SUPPRESS)
    return parser


def _run_all(options: argparse.Namespace, cases: dict[str, Case]) -> None:
    import torch

    from benchmarks._machine import describe

    unknown = [name for name in options.case or [] if name not in cases]
    if unknown:
        sys.exit(f"no such case: {', '.join(unknown)}. There are: {', '.join(cases)}.")
    if options.repeat < 1:
        sys.exit(f"--repeat {options.repeat} must be at least 1.")
    chosen = [cases[name] for name in options.case] if options.case else list(cases.values())
    if not torch.cuda.is_available():
        if options.case and any(case.device == "cuda" for case in chosen):
            sys.exit("a case needs a CUDA device, and PyTorch finds none here.")
        chosen = [case for case in chosen if case.device != "cuda"]
    report = {**describe(), "results": []}
    for case in chosen:
        for size in [options.size] if options.size else case.sizes:
            record = {"case": case.name, "size": list(size), "device": case.device, **_measure(options, case, size)}
            report["results"].append(record)
            print(_line(record), flush=True)
            if options.out:
                options.out.write_text(json.dumps(report, indent=1) + "\n")


def _measure(options: argparse.Namespace, case: Case, size: tuple[int, ...]) -> dict[str, Any]:
    record = _in_process(options, case, size)
    if case.device == "cpu":
        for who in ("ours", "peer"):
            if who in record:
                record[who] |= _in_process(options, case, size, "--memory", who)
    return record


def _in_process(options: argparse.Namespace, case: Case, size: tuple[int, ...], *more: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "record.json"
        command = [sys.executable, "-m", "benchmarks", "--worker", str(file), "--case", case.name]
        command += ["--size", _label(size), "--repeat", str(options.repeat), *more]
        command += ["--preload", options.preload] if options.preload else []
        command += ["--peer"] if options.peer else []
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit(f"{case.name} {_label(size)} failed: see above.")
        return json.loads(file.read_text())


def _work(options: argparse.Namespace, cases: dict[str, Case]) -> None:
    from benchmarks import _measure as measure

    case = cases[options.case[0]]
    if options.memory:
        record = measure.measure_memory(case, options.size, options.memory)
    else:
        record = measure.time_case(case, options.size, repeat=options.repeat, with_peer=options.peer)
    options.worker.write_text(json.dumps(record))


def _line(record: dict[str, Any]) -> str:
    ours, peer = record["ours"], record.get("peer")
    parts = [f"{record['case']:32s} {_label(record['size']):>16s}  {ours['median_s']:9.4f} s"]
    parts.append(f"first {ours['first_s']:.2f} s")
    peak = ours.get("peak_gpu_bytes", ours.get("peak_above_start_bytes"))
    if peak is not None:
        parts.append(f"{peak / 2**20:,.0f} MiB")
    if peer:
        parts.append(f"{peer['package']}: {peer['median_s']:.4f} s, ratio {record['ratio']:.2f}")
    if "difference" in record:
        parts.append(f"difference {record['difference']:.1e}")
    if "peer_missing" in record:
        parts.append(f"no peer: {record['peer_missing']}")
    return "  ".join(parts)


def _label(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _size(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


if __name__ == "__main__":
    main()
