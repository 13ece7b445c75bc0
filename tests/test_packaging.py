"""What says what pertorch is and needs, in several files, says the same in all."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import pertorch

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))


def as_conda(requirement: str) -> str:
    """`dask[array]>=1` as `dask >=1`."""
    match = re.match(r"([\w-]+)(?:\[.*?\])?\s*(>=[\d.]+)", requirement)
    assert match, requirement
    return f"{CONDA_NAMES.get(match[1], match[1])} {match[2]}"


def test_conda_recipe(project: dict[str, Any], recipe: dict[str, Any]) -> None:
    assert recipe["context"]["version"] == pertorch.__version__
    assert f">={recipe['context']['python_min']}" == project["requires-python"]
    python, *run = recipe["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    assert sorted(run) == sorted(map(as_conda, project["dependencies"]))
    optional = [
        as_conda(r) for extra in ("plots", "dask", "ann", "datasets") for r in project["optional-dependencies"][extra]
    ]
    assert set(optional) <= set(recipe["requirements"]["run_constraints"])
    assert [f"{name} = {target}" for name, target in project["scripts"].items()] == (
        recipe["build"]["python"]["entry_points"]
    )
    for key in ("license", "summary"):
        assert recipe["about"][key] == project["license" if key == "license" else "description"]


def test_citation(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (pertorch.__version__, project["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]


def test_typed() -> None:
    assert (Path(pertorch.__file__).parent / "py.typed").is_file()
    assert "Typing :: Typed" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
