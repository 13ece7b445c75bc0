"""What the README and the docs show is what happens: the examples of a page run in order, in a folder of their own.

``python`` blocks are run; those written with ``>>>`` print what they show. ``console`` blocks hold commands after
``$``; of those of pertorch the output shown is compared, in which a line ``…`` stands for any others. What a page
takes for granted stands above in an HTML comment. A block that cannot run here comes after a comment that says why:
``<!-- not run: needs two GPUs -->``. Tutorials, whose cells are ``{code-cell}``, run when the docs are built.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest

from pertorch.cli import main
from pertorch.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "mathematics").glob("*.md")),
]
BLOCK = re.compile(r"^(<!-- not run: .+? -->\n+)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CUT = "…"  # a line of its own: other lines stand here
MAKE = {"make demo": "pertorch demo"}  # what a make target runs once pertorch is installed


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the blocks that are to run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for skipped, language, text in found if language in ("python", "console") and not skipped]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    registered = dict(METRICS)
    try:
        for language, text in blocks(page):
            if language == "console":
                _console(text)
            elif text.lstrip().startswith(">>>"):
                _doctest(text, names, page)
            else:
                exec(compile(text, page.name, "exec"), names)
    finally:
        METRICS.clear()
        METRICS.update(registered)


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
    assert not shown or re.fullmatch(pattern, text, re.DOTALL), f"`{command}` printed\n{text}"
