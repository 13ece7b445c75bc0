from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import pandas as pd

from pertorch.ds import simulate_screen


def test_simulate(pertorch: Callable, tmp_path: Path) -> None:
    size = ["--cells", 300, "--genes", 80, "--targets", 4, "--seed", 7]
    ran = pertorch("simulate", tmp_path / "s.h5ad", *size)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"{tmp_path / 's.h5ad'}: 300 cells × 80 genes",
        f"{tmp_path / 's.guides.h5ad'}: 300 cells × 18 guides",
    ]
    truth = simulate_screen(300, 80, 4, random_state=7)
    for name, part in (("s.h5ad", truth.genes), ("s.guides.h5ad", truth.guides)):
        found = anndata.read_h5ad(tmp_path / name)
        assert (found.X != part.X).nnz == 0
        pd.testing.assert_frame_equal(found.obs, part.obs, check_index_type=False, check_categorical=False)
    pd.testing.assert_frame_equal(
        anndata.read_h5ad(tmp_path / "s.h5ad").uns["planted"], truth.genes.uns["planted"], check_index_type=False
    )


def test_demo_finds_what_was_planted(pertorch: Callable, tmp_path: Path) -> None:
    ran = pertorch("demo", "--out", tmp_path / "demo")
    assert ran.code == 0
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"distances.csv", "screen.guides.h5ad", "screen.h5ad", "report.html", "annotated.h5ad"} <= written
    assert ran.out.endswith(f"\n\nReport: {tmp_path / 'demo' / 'report.html'}\n")
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert page.index("Planted effects and distances found") < page.index("Cells by label")
    effects = pd.read_csv(tmp_path / "demo" / "targets.csv", index_col="target")["effect"]
    assert not effects[[f"target{k}" for k in range(19, 25)]].any()  # the last six have none
    assert effects[[f"target{k:02d}" for k in range(1, 11)]].all()
    table = pd.read_csv(tmp_path / "demo" / "distances.csv")
    assert table["effect"].corr(table["edistance"], method="spearman") > 0.9
    null = table["effect"] == 0
    assert (table["edistance"][null].abs() < 3 * table["sd"][null]).all()
    assert (table["edistance"][table["effect"] > 0.5] > 3 * table["sd"][table["effect"] > 0.5]).all()
    calls = [line.split() for line in ran.out.splitlines() if line.startswith(("max ", "threshold ", "mixture "))]
    assert [method for method, *_ in calls] == ["max", "threshold", "mixture"]
    for _, *cells in calls:
        right, *wrong = (int(number.replace(",", "")) for number in cells)
        assert right + sum(wrong) == 5_000
        assert right > 4_750
