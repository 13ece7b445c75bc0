"""Time against the size of the screen: measured, and drawn on logarithmic axes with the slope of each line.

python -m benchmarks.growth --device cpu --out benchmarks/results/DATE-growth-cpu.json
python -m benchmarks.growth --draw benchmarks/results/*growth*.json --figure docs/growth.svg
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._measure import _timed
from benchmarks._registry import load_cases

SLOPE_FROM = 0.05  # seconds; below, what does not grow is most of it
CELLS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
GROUPS = (10, 30, 100, 300, 1_000)


class Series(NamedTuple):
    """A case whose size grows in one number; ``None`` in `size` stands for it."""

    name: str
    case: str
    size: tuple[int | None, ...]
    grows: tuple[int, ...] = CELLS
    of: str = "cells"


SERIES = (
    Series("E-distance, all pairs of 100 groups", "distance_pairwise", (None, 100)),
    Series("E-distance to the controls, 100 groups, 100 bootstraps", "distance_onesided_bootstrap", (None, 100, 100)),
    Series("DistanceTest, 100 groups, 1,000 permutations", "distance_test", (None, 100, 1_000)),
    Series("Sinkhorn to the controls, 100 groups", "wasserstein_onesided", (None, 100)),
    Series("guide mixture, 500 guides", "guides_mixture", (None, 500)),
    Series("Mixscape, 1,000 genes, 50 targets", "mixscape_classes", (None, 1_000, 50), CELLS[:5]),
    Series("E-distance, all pairs, 30,000 cells", "distance_pairwise", (30_000, None), GROUPS, "groups"),
    Series("DistanceTest, 30,000 cells, 1,000 permutations", "distance_test", (30_000, None, 1_000), GROUPS, "groups"),
    Series("guide mixture, 30,000 cells", "guides_mixture", (30_000, None), GROUPS, "groups"),
)


def main() -> None:
    """Measure, or draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--most", type=float, default=20, help="seconds of a call after which a series ends")
    parser.add_argument("--repeat", type=int, default=3, help="calls that a median is of, after a first one")
    parser.add_argument("--of", choices=("cells", "groups"), help="only what grows in these")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--draw", type=Path, nargs="+", help="JSON to draw")
    parser.add_argument("--figure", type=Path, default=Path("docs/growth.svg"))
    options = parser.parse_args()
    if options.draw:
        draw([json.loads(file.read_text()) for file in options.draw], options.figure)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Each series from its smallest size up, until a call takes too long."""
    from benchmarks._machine import describe
    from pertorch import settings

    settings.device = options.device
    cases = load_cases()
    report: dict[str, Any] = {**describe(), "device": options.device, "series": []}
    for series in SERIES:
        if options.of not in (None, series.of):
            continue
        points: list[tuple[int, float]] = []
        report["series"].append({"name": series.name, "of": series.of, "points": points})
        for n in series.grows:
            call = cases[series.case].setup(*(n if part is None else part for part in series.size)).ours
            first = _timed(call)[1]
            # A call of many seconds says enough by itself: what a first call does besides is a second or two.
            again = [_timed(call)[1] for _ in range(options.repeat)] if first < options.most / 4 else [first]
            points.append((n, statistics.median(again)))
            print(f"{series.name}: {n} {series.of}, {points[-1][1]:.4f} s", flush=True)
            if options.out:
                options.out.write_text(json.dumps(report, indent=1) + "\n")
            del call
            gc.collect()
            if len(points) > 1 and points[-1][1] ** 2 / points[-2][1] > options.most:  # the next one, at this growth
                break


def slope(points: list[tuple[int, float]]) -> float:
    """Exponent of the growth where the call takes long enough to tell; NaN where it never does."""
    telling = [point for point in points if point[1] >= SLOPE_FROM]
    if len(telling) < 2:
        return float("nan")
    n, seconds = np.log(np.array(telling)).T
    return float(np.polyfit(n, seconds, 1)[0])


def draw(reports: list[dict[str, Any]], file: Path) -> None:
    """One row of panels for each report: against cells, against groups."""
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(len(reports), 2, figsize=(11, 4.6 * len(reports)), squeeze=False, layout="constrained")
    for report, row in zip(reports, rows, strict=True):
        at = report["machine"]
        machine = at["gpus"][0] if report["device"] == "cuda" else f"{at['threads']} threads of a CPU"
        for of, axes in zip(("cells", "groups"), row, strict=True):
            shown = [series for series in report["series"] if series["of"] == of]
            for series in shown:
                power = slope(series["points"])
                label = series["name"] + (f": slope {power:.2f}" if np.isfinite(power) else "")
                axes.loglog(*zip(*series["points"], strict=True), "o-", markersize=3.5, linewidth=1.2, label=label)
            axes.set(xlabel=of if of == "cells" else "groups, or guides", ylabel="seconds", title=f"{machine}: {of}")
            axes.grid(alpha=0.3)
            if shown:
                axes.legend(fontsize=6.5, frameon=False)
    figure.savefig(file)
    plt.close(figure)


if __name__ == "__main__":
    main()
