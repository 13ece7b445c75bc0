from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import pytest

import pertorch as package
from pertorch.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"pertorch {package.__version__}\n"


@pytest.mark.parametrize("command", ["distance", "guides", "simulate", "demo"])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: pertorch {command}" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from pertorch.cli import main
try:
    main(["--help"])
except SystemExit:
    print(sorted({"torch", "anndata", "pandas", "numpy", "scipy"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
    assert done.stdout.splitlines()[-1] == "[]"


def test_interrupted(pertorch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertorch.cli._demo.run", _raise(KeyboardInterrupt()))
    assert pertorch("demo") == (130, "", "pertorch: interrupted.\n")


def test_an_error_of_several_lines_becomes_one(pertorch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertorch.cli._demo.run", _raise(KeyError("no\n  such key")))
    assert pertorch("demo") == (2, "", "pertorch: no such key\n")


def test_an_error_of_ours_keeps_its_traceback(pertorch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertorch.cli._demo.run", _raise(AssertionError("a bug")))
    with pytest.raises(AssertionError, match="a bug"):
        pertorch("demo")


def test_debug(pertorch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTORCH_DEBUG", "1")
    monkeypatch.setattr("pertorch.cli._demo.run", _raise(ValueError("seen")))
    with pytest.raises(ValueError, match="seen"):
        pertorch("demo")


def test_a_warning_is_one_line(pertorch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("skipping\n guide g1", stacklevel=1)

    monkeypatch.setattr("pertorch.cli._demo.run", warn)
    assert pertorch("demo") == (0, "", "pertorch: warning: skipping guide g1\n")


def test_a_reader_that_has_seen_enough(screen_file: object) -> None:
    words = [sys.executable, "-c", "import sys; from pertorch.cli import main; sys.exit(main())"]
    words += ["distance", str(screen_file), "--groupby", "gene_target", "--control", "NT", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def _raise(error: BaseException) -> Callable[[object], None]:
    def run(_: object) -> None:
        raise error

    return run


def test_verbose_tells_what_took_how_long(pertorch: Callable, screen_file: Path) -> None:
    words = ("distance", str(screen_file), "--groupby", "gene_target", "--control", "NT", "--quiet")
    assert "edistance" not in pertorch(*words).err
    assert "pertorch: edistance: 0." in pertorch(*words, "-v").err


def test_the_environment_chooses_the_device_where_the_command_does_not(
    pertorch: Callable, screen_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.settings.reset()  # what other tests assigned
    monkeypatch.setenv("PERTORCH_DEVICE", "abacus")
    words = ("distance", str(screen_file), "--groupby", "gene_target", "--control", "NT", "--quiet")
    assert pertorch(*words).code == 2
    assert pertorch(*words, "--device", "cpu").code == 0


def test_the_environment_gives_the_seed_where_the_command_does_not(
    pertorch: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*words: str) -> bytes:
        ran = pertorch("simulate", tmp_path / "out.h5ad", "--cells", 20, "--genes", 80, "--targets", 2, *words)
        assert ran.code == 0, ran.err
        return anndata.read_h5ad(tmp_path / "out.h5ad").X.toarray().tobytes()

    package.settings.reset()
    asked = drawn("--seed", "5")
    monkeypatch.setenv("PERTORCH_SEED", "5")
    assert drawn() == asked
    assert drawn("--seed", "0") != asked
