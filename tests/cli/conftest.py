from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pertorch.cli import main
from pertorch.ds import Screen, simulate_screen


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def pertorch(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def screen() -> Screen:
    return simulate_screen(400, 120, 5, n_programs=2, program_size=30, random_state=1)


@pytest.fixture(scope="session")
def screen_file(screen: Screen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    screen.genes.write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def guides_file(screen: Screen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("screen") / "guides.h5ad"
    screen.guides.write_h5ad(path)
    return path
