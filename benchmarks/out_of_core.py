"""A screen on disk beside the same screen in memory: seconds and peak memory, each call in a process of its own.

python -m benchmarks.out_of_core --folder /tmp --out benchmarks/results/DATE-out-of-core-cpu.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._machine import describe

HOMES = ("backed", "memory")


def main() -> None:
    """Measure all calls from both homes, or, called by oneself, one."""
    from benchmarks.stored import SIZES, STORED

    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_core", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files go")
    parser.add_argument("--what", choices=list(STORED), nargs="+", default=list(STORED))
    parser.add_argument("--cells", type=int, help="in place of the usual")
    parser.add_argument("--groups", type=int, help="in place of the usual")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--write", action="store_true", help="write the first, and stop")
    parser.add_argument("--one", nargs=2, metavar=("CALL", "HOME"), help="measure this one, here")
    options = parser.parse_args()
    results = []
    for what in options.what:
        n, k = options.cells or SIZES[what][0], options.groups or SIZES[what][1]
        file = options.folder / f"out_of_core_{what}_{n}_{k}.h5ad"
        if options.write:
            STORED[what].write(file, n, k)
            return
        if options.one:
            print(json.dumps(measure(file, STORED[what].calls[options.one[0]], options.one[1])))
            return
        if not file.exists():
            _elsewhere(["--what", what, "--write"])
        for call in STORED[what].calls:
            homes = [_elsewhere(["--what", what, "--one", call, home]) for home in HOMES]
            results.append({"case": call, "size": [n, k], "homes": homes})
            print(results[-1], flush=True)
    if options.out:
        options.out.write_text(json.dumps({**describe(), "results": results}, indent=1) + "\n")


def _elsewhere(more: list[str]) -> Any:
    """In a process of its own: a child's peak begins at what its parent holds, so this one holds little."""
    call = [sys.executable, "-m", "benchmarks.out_of_core", *sys.argv[1:], *more]
    return json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout or "null")


def measure(file: Path, call: Any, home: str) -> dict[str, Any]:
    """One call, the first of its process."""
    import anndata as ad

    adata = ad.read_h5ad(file, backed="r" if home == "backed" else None)
    opened, start = _peak(), time.perf_counter()
    found = call(adata)
    seconds = time.perf_counter() - start
    total = float(found.sum()).hex()
    return {"home": home, "s": seconds, "peak_bytes": _peak(), "peak_when_opened_bytes": opened, "sum": total}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
