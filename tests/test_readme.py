"""What the README shows is what happens: its examples run in order, in one folder, and print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from pertorch.cli import main
from pertorch.metrics import METRICS

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CUT = "…"  # a line of its own: other lines stand here
MAKE = {"make demo": "pertorch demo"}  # what a make target runs once pertorch is installed


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = 0
    for language, text in BLOCK.findall(README.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, "README.md", "exec"), names)
            ran += 1
        elif language == "console":
            for command, shown in _commands(text):
                words = shlex.split(MAKE.get(command, command))
                if words[0] == "pertorch":
                    _compare(command, shown, _printed(words[1:]))
                    ran += 1
    assert ran >= 5


def test_every_metric_is_named() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in text] == []


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
