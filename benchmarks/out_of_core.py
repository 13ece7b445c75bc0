"""A screen on disk beside the same screen in memory: seconds and peak memory, each in a process of its own.

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

import numpy as np

from benchmarks._machine import describe

HOMES = ("backed", "memory")
ROWS = 100_000  # written at once


def main() -> None:
    """Measure both homes, or, called by oneself, one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_core", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the file goes")
    parser.add_argument("--cells", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--bootstraps", type=int, default=100)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--home", choices=HOMES, help="measure this one, here")
    options = parser.parse_args()
    file = options.folder / f"out_of_core_{options.cells}_{options.features}_{options.groups}.h5ad"
    if options.home:
        print(json.dumps(measure(file, options.home, options.bootstraps)))
        return
    if not file.exists():
        write(file, options.cells, options.features, options.groups)
    results = []
    for home in HOMES:
        call = [sys.executable, "-m", "benchmarks.out_of_core", *sys.argv[1:], "--home", home]
        results.append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
        print(results[-1])
    if options.out:
        size = [options.cells, options.features, options.groups, options.bootstraps]
        case = {"case": "distance_onesided_bootstrap", "size": size, "homes": results}
        options.out.write_text(json.dumps({**describe(), "results": [case]}, indent=1) + "\n")


def write(file: Path, n: int, d: int, k: int) -> None:
    """Normal groups whose means differ, scattered over a contiguous float32 matrix: never all of it in memory."""
    import anndata as ad
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    rng = np.random.default_rng(0)
    labels, shift = rng.permutation(np.arange(n) % k), rng.normal(0, 0.3, (k, d)).astype(np.float32)
    names = pd.Categorical.from_codes(labels, [f"g{i}" for i in range(k)])
    ad.AnnData(obs=pd.DataFrame({"gene": names}, index=pd.RangeIndex(n).astype(str))).write_h5ad(file)
    with h5py.File(file, "a") as stored:
        for part in ("X", "var"):
            stored.pop(part, None)
        write_elem(stored, "var", pd.DataFrame(index=pd.RangeIndex(d).astype(str)))
        x = stored.create_dataset("X", (n, d), dtype=np.float32)
        x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for start in range(0, n, ROWS):
            mine = labels[start : start + ROWS]
            x[start : start + ROWS] = rng.standard_normal((len(mine), d), dtype=np.float32) + shift[mine]


def measure(file: Path, home: str, bootstraps: int) -> dict[str, Any]:
    """One call, the first of its process."""
    import anndata as ad

    import pertorch

    adata = ad.read_h5ad(file, backed="r" if home == "backed" else None)
    opened, start = _peak(), time.perf_counter()
    mean, variance = pertorch.Distance("edistance", layer_key="X").onesided_distances(
        adata, "gene", "g7", bootstrap=True, n_bootstrap=bootstraps
    )
    seconds = time.perf_counter() - start
    sums = [float(table.sum()).hex() for table in (mean, variance)]
    return {"home": home, "s": seconds, "peak_bytes": _peak(), "peak_when_opened_bytes": opened, "sums": sums}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
