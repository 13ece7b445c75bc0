"""Step: what was done, with what."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd

from pertorch import __version__
from pertorch.cli.page import Column, Section, Table
from pertorch.exec import resolve_devices

PACKAGES = ("torch", "numpy", "scipy", "pandas", "anndata", "statsmodels")
FILES = {
    "annotated.h5ad": "the data with all that was found, in obs, obsm and uns['pertorch_report']",
    "targets.csv": "a row for each target",
    "cells.csv": "a row for each cell: label, guides called, class, score",
    "guides.csv": "a row for each guide",
    "markers.csv": "a row for each target and marker gene",
    "pairwise.csv": "distances among targets with an effect",
    "distances_by_split.csv": "distances in each split",
    "perturbed_by_split.csv": "Mixscape in each split",
    "run.json": "parameters and versions, as below",
}


@dataclass(frozen=True)
class Record:
    """What it takes to do it again.

    Attributes
    ----------
    command
        The words after ``pertorch``.
    parameters
        All of them, defaults too.
    seconds
        Each step took.
    date
        Of the run.
    """

    command: str
    parameters: dict[str, Any]
    seconds: dict[str, float]
    date: str

    @property
    def versions(self) -> dict[str, str]:
        """Of pertorch and what it stands on."""
        found = {"pertorch": __version__, "Python": platform.python_version()}
        return found | {name: version(name) for name in PACKAGES}

    @property
    def device(self) -> str:
        """Where it was computed."""
        return ", ".join(str(device) for device in resolve_devices())

    def as_dict(self) -> dict[str, Any]:
        """As written to ``run.json``."""
        return {
            "command": self.command, "date": self.date, "device": self.device, "parameters": self.parameters,
            "versions": self.versions, "seconds": self.seconds,
        }  # fmt: skip


def record_section(record: Record, notes: tuple[str, ...], files: tuple[str, ...]) -> Section:
    """Parameters, versions, files."""
    words = {key: " ".join(value) if isinstance(value, list) else value for key, value in record.parameters.items()}
    parameters = pd.DataFrame(
        {"parameter": list(words), "value": ["" if value is None else str(value) for value in words.values()]}
    )
    versions = pd.DataFrame({"package": list(record.versions), "version": list(record.versions.values())})
    seconds = pd.DataFrame({"step": list(record.seconds), "seconds": list(record.seconds.values())})
    written = pd.DataFrame({"file": list(files), "holds": [FILES[name] for name in files]})
    said = ". ".join(note[:1].upper() + note[1:] for note in notes)
    return Section(
        "What was done",
        (f"`pertorch {record.command}`", f"{record.date}, on {record.device}. {said}."),
        (
            Table("Files beside this page", written, (Column("file", "file"), Column("holds", "holds"))),
            Table("Parameters; a dash is the default of the method", parameters,
                  (Column("parameter", "parameter"), Column("value", "value"))),
            Table("Versions", versions, (Column("package", "package"), Column("version", "version"))),
            Table("Time", seconds, (Column("step", "step"), Column("seconds", "seconds", "", "number"))),
        ),
    )  # fmt: skip
