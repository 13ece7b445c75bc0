"""What the README and the docs show is what happens: the examples of a page run in order, in a folder of their own.

``python`` blocks are run; those written with ``>>>`` print what they show, and so do others where a block without a
language follows at once. ``console`` blocks hold commands after ``$``; of those of pertorch the output shown is
compared. A line ``…`` stands for any others. What a page takes for granted stands above in an HTML comment. A block
that cannot run here comes after a comment that says why: ``<!-- not run: needs two GPUs -->``. Tutorials, whose cells
are ``{code-cell}``, run when the docs are built.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import pertorch
from pertorch.cli import main
from pertorch.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "mathematics").glob("*.md")),
]
BLOCK = re.compile(r"^```(?P<language>[^`\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CUT = "…"  # a line of its own: other lines stand here
MAKE = {"make demo": "pertorch demo"}  # what a make target runs once pertorch is installed


def blocks(page: Path) -> list[tuple[str, str, list[str]]]:
    """Language and text of the blocks that are to run, and the lines that a block after it shows."""
    page_text, found, runs, end = page.read_text(encoding="utf-8"), [], False, 0
    for block in BLOCK.finditer(page_text):
        between, language, text = page_text[end : block.start()].strip(), block["language"], block["text"]
        if runs and not language and not between:
            found[-1][2].extend(text.splitlines())
        runs = language in ("python", "console") and not re.search(r"<!-- not run: .+? -->$", between)
        if runs:
            found.append((language, text, []))
        end = block.end()
    return found


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each page has a folder and leaves no settings, metrics or log handlers behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    metrics, log = dict(METRICS), logging.getLogger("pertorch")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = log.level
    yield
    METRICS.clear()
    METRICS.update(metrics)
    log.setLevel(level)
    pertorch.settings.reset()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_examples(page: Path) -> None:
    names: dict[str, object] = {}
    for language, text, shown in blocks(page):
        if language == "console":
            _console(text)
        elif text.lstrip().startswith(">>>"):
            _doctest(text, names, page)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, page.name, "exec"), names)
            _compare(text, shown, out.getvalue().splitlines())


def test_every_metric_is_named() -> None:
    for page in ("README.md", "docs/metrics.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [name for name in METRICS if f"`{name}`" not in text] == [], page


def _doctest(text: str, names: dict[str, object], page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    out = io.StringIO()
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=out.write, clear_globs=False).failed
    names.update(test.globs)  # the runner works on a copy
    assert not failed, out.getvalue()


def _console(text: str) -> None:
    for command, shown in _commands(text):
        words = shlex.split(MAKE.get(command, command))
        if words[0] == "pertorch":
            _compare(command, shown, _printed(words[1:]))


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """Each `$ command`, and the lines shown under it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def _printed(words: list[str]) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*words, "--quiet"]) == 0
    return out.getvalue().splitlines()


def _compare(command: str, shown: list[str], printed: list[str]) -> None:
    pattern = "\n".join(".*" if line == CUT else re.escape(line.rstrip()) for line in shown)
    text = "\n".join(line.rstrip() for line in printed)
    assert not shown or re.fullmatch(pattern, text, re.DOTALL), f"{command!r} printed\n{text}"
