"""Pages: what is written, whatever the names in it hold; what a browser makes of it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pertorch.cli.page import Column, Fact, Page, Section, Table, as_svg, render

NASTY = '<script>alert("x")</script> & **not** `code`'


def page_of(*sections: Section) -> str:
    return render(Page("A title", "below", ("In **bold** and `code`.",), (Fact("1", "fact"),), ("Next.",), sections))


def table_of(frame: pd.DataFrame, **kinds: str) -> Table:
    columns = tuple(Column(name, name, f"meaning of {name}", kinds.get(name, "text")) for name in frame)  # type: ignore[arg-type]
    return Table("A caption", frame, columns, "a.csv")


def test_names_are_text() -> None:
    frame = pd.DataFrame({"name": [NASTY]})
    section = Section("Title", (f"of {html.escape('<b>')}",), (table_of(frame),), (), (NASTY.replace("*", ""),))
    text = page_of(section)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;") >= 3
    assert "In <strong>bold</strong> and <code>code</code>." in text


def test_numbers_as_shown_and_as_sorted() -> None:
    frame = pd.DataFrame(
        {
            "t": ["a", "b", None], "x": [1234.5678, -0.25, np.nan], "p": [1e-7, 0.034567, 1], "s": [0.757, 1, np.nan],
            "k": pd.array([3, None, 1], dtype="Int64"), "f": [True, False, True],
        }
    )  # fmt: skip
    text = page_of(Section("S", (), (table_of(frame, x="number", p="p", s="percent", k="number", f="flag"),)))
    cells = re.findall(r'<t[dh][^>]*class="(\w+)"(?: data-value="([^"]*)")?>([^<]*)</t', text)
    assert cells == [
        ("text", "", "a"), ("number", "1234.5678", "1,235"), ("p", "1e-07", "1e-07"), ("percent", "0.757", "75.7 %"),
        ("number", "3", "3"), ("flag", "1", "yes"),
        ("text", "", "b"), ("number", "-0.25", "−0"), ("p", "0.034567", "0.035"), ("percent", "1.0", "100.0 %"),
        ("number", "", "–"), ("flag", "0", ""),
        ("text", "", "–"), ("number", "", "–"), ("p", "1.0", "1"), ("percent", "", "–"), ("number", "1", "1"),
        ("flag", "1", "yes"),
    ]  # fmt: skip


def test_long_tables_are_cut_and_say_so() -> None:
    table = Table("Long", pd.DataFrame({"n": range(30)}), (Column("n", "n", "", "number"),), "n.csv", most=10)
    text = page_of(Section("S", (), (table,)))
    assert text.count("<tr>") == 11
    assert "The first 10 of 30 rows; all are in" in " ".join(text.split())


def test_notices_are_on_top_too() -> None:
    text = page_of(Section("Of cells", ("p",)), Section("Of guides", (), (), (), ("Mind this.",)), Section("Nothing"))
    assert text.count("Mind this.") == 2
    assert text.index('href="#of-guides"') < text.index('id="of-cells"') < text.index('id="of-guides"')
    assert "Nothing" not in text


def test_figures_take_the_colours_of_the_page() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#333333")
    axes.scatter(np.zeros(4_000), np.zeros(4_000))
    one, two = (as_svg(figure, name) for name in ("one", "two"))
    names = re.findall(r'\bid="([^"]*)"', one)
    assert len(set(names)) == len(names)
    assert not set(names) & set(re.findall(r'\bid="([^"]*)"', two))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', one)) <= set(names)
    assert not re.search("#000000|#333333|#ffffff|http|<style|<!--", one)
    assert "currentColor" in one
    assert one.count("<use") < 1_000  # 4,000 dots are an image
    assert re.match(r'<svg[^>]*style="--width: 288px"[^>]*width="288" height="192"', one)


PROBE = """<script>
document.querySelectorAll("thead button")[1].click();
const first = [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent).join("");
document.querySelectorAll("thead button")[1].click();
const second = [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent).join("");
document.querySelectorAll("thead button")[0].click();
const third = [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent).join("");
const wide = document.documentElement.scrollWidth > innerWidth;
document.title = JSON.stringify([first, second, third, wide, document.querySelector("th").ariaSort]);
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    """Tables sort, what is missing stays last, and a wide table scrolls within itself."""
    frame = pd.DataFrame({"t": list("bacd"), "x": [2.0, 10.0, np.nan, -1.0], **{f"c{i}": [i] * 4 for i in range(40)}})
    text = page_of(Section("S", ("word " * 60,), (table_of(frame, x="number"),)))
    (tmp_path / "page.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'user'}",
               "--window-size=500,800", "--dump-dom", f"file://{tmp_path / 'page.html'}"]  # fmt: skip
    dom = subprocess.run(["chromium", *options], capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search("<title>(.*?)</title>", dom)
    assert found is not None
    assert html.unescape(found[1]) == '["abdc","dbac","abcd",false,"ascending"]'
