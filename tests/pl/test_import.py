from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from pertorch import pl

PROGRAM = """
import sys
import pertorch.pl, pertorch.tl, pertorch.pp
assert "matplotlib" not in sys.modules, "matplotlib was imported before a plot was drawn"
"""


def test_matplotlib_is_imported_when_a_plot_is_drawn():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install pertorch\[plots\]"):
        pl.distance_heatmap(pd.DataFrame([[0.0, 1.0], [1.0, 0.0]]))
