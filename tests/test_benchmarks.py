"""The runner runs; how fast is no matter for tests."""

import json
import math
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_small_case(tmp_path):
    out, preload = tmp_path / "results.json", tmp_path / "preload.py"
    preload.write_text("import sys; sys.preloaded = True\n")
    done = run(
        "--case", "distance_pairwise", "--size", "60x4", "--repeat", "2", "--out", str(out), "--preload", str(preload)
    )
    assert done.returncode == 0, done.stderr
    assert "distance_pairwise" in done.stdout
    report = json.loads(out.read_text())
    assert {"date", "commit", "machine", "versions", "results"} <= report.keys()
    (record,) = report["results"]
    assert (record["case"], record["size"], record["device"]) == ("distance_pairwise", [60, 4], "cpu")
    assert len(record["ours"]["all_s"]) == 2
    assert record["ours"]["peak_bytes"] >= record["ours"]["peak_above_start_bytes"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "distance_pairwice"], "no such case: distance_pairwice. There are: "),
        (["--repeat", "0"], "--repeat 0 must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match=message):
        import_module("benchmarks.__main__").main()


def test_growth_tells_the_slope_and_draws_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.growth import SLOPE_FROM, draw, slope

    points = [(n, 1e-9 * n**2) for n in (10_000, 100_000, 1_000_000)]
    assert slope(points) == pytest.approx(2)
    assert slope([(10, SLOPE_FROM / 2), *points]) == pytest.approx(2), "short calls do not count"
    assert math.isnan(slope([(10, SLOPE_FROM / 2)]))
    machine = {"threads": 2, "gpus": []}
    report = {"device": "cpu", "machine": machine, "series": [{"name": "pairs", "of": "cells", "points": points}]}
    draw([report], tmp_path / "growth.svg")
    assert "<svg" in (tmp_path / "growth.svg").read_text()
