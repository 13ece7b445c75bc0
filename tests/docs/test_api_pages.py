"""What is public has a page. Modules list their own `__all__`; classes of metrics are listed by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pertorch
from pertorch.metrics import METRICS

API = Path(__file__).parents[2] / "docs" / "api"


def listed(page: str) -> list[str]:
    """The entries of the tables of a page: indented names."""
    return re.findall(r"^   ([A-Za-z][\w.]*)$", (API / page).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_module_is_listed():
    modules = {f"pertorch.{name}" for name in pertorch.__all__ if name in pertorch._MODULES}
    assert modules | {"pertorch.metrics"} == set(listed("index.md"))


def test_every_metric_is_listed():
    own = {metric.__name__ for metric in METRICS.values() if metric.__module__.startswith("pertorch.")}
    assert own == set(listed("classes_of_metrics.md"))
