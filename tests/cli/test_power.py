from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pertorch.cli._power import by_target


def test_distance(pertorch: Callable, screen_file: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "power.csv", tmp_path / "power.png"
    words = ("--groupby", "gene_target", "--control", "NT", "--cells", "10,40", "--replicates", 20)
    ran = pertorch("power", screen_file, *words, "--permutations", 199, "--out", out, "--plot", plot, "--quiet")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0].split() == ["target", "pilot", "10", "40", "cells", "for", "0.8"]
    table = pd.read_csv(out)
    assert len(table) == 10
    assert table.groupby("n_cells")["power"].mean().is_monotonic_increasing
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_mixscape(pertorch: Callable, screen_file: Path) -> None:
    words = ("--groupby", "gene_target", "--control", "NT", "--cells", "20", "--replicates", 3, "--quiet")
    ran = pertorch("power", screen_file, *words, "--test", "mixscape")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 6
    assert pertorch("power", screen_file, *words, "--test", "mixscape", "--targets", 9).code == 2


def test_cells_needed() -> None:
    rows = [
        ("a", 10, 0.9),
        ("a", 20, 1.0),
        ("b", 10, 0.1),
        ("b", 20, 0.8),
        ("c", 10, 0.3),
        ("d", 10, 0.2),
        ("d", 20, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["target", "n_cells", "power"]).assign(pilot_cells=99)
    found = by_target(table, 0.8)
    assert found["cells for 0.8"].tolist() == ["10", "20", "> 20", "> 10"]
    assert found["target"].tolist() == ["a", "b", "d", "c"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cells", "10,x"), "'x' is not a whole number of at least 1"),
        (("--cells", "900"), "no target of the pilot has n_cells=900 cells"),
        (("--wanted", "80"), "--wanted 80.0 must lie between 0 and 1"),
        (("--control", "NTC"), "'NTC' has no cells"),
        (("--out", "power.txt"), "does not end in .csv"),
    ],
)
def test_bad_input(pertorch: Callable, screen_file: Path, words: tuple[str, ...], says: str) -> None:
    ran = pertorch("power", screen_file, "--groupby", "gene_target", "--control", "NT", "--quiet", *words)
    assert ran.code == 2
    assert says in ran.err
