"""What is public has a page. Modules list their own `__all__`; classes of metrics are listed by hand."""

from __future__ import annotations

import re
from importlib import import_module
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


def test_llms_names_every_page_and_public_name(monkeypatch):
    monkeypatch.syspath_prepend(API.parent)
    text = import_module("_llms").text()
    pages = {page.relative_to(API.parent).with_suffix(".html").as_posix() for page in API.parent.glob("*.md")}
    assert [page for page in pages - {"index.html"} if f"]({page})" not in text] == []
    assert [name for name in (*pertorch.tl.__all__, *pertorch.pp.__all__) if f".{name}](" not in text] == []
    assert ":class:" not in text
