"""The steps of a report, in order."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from pertorch.cli._console import Console
from pertorch.cli._guides import LABEL
from pertorch.cli._prepare import Prepared, prepare
from pertorch.cli.report._distances import Measured, measure
from pertorch.cli.report._files import Files
from pertorch.cli.report._guides import GuideCalls
from pertorch.cli.report._likeness import Likeness, compare
from pertorch.cli.report._mixscape import Classified, classify
from pertorch.cli.report._options import Options
from pertorch.cli.report._study import Study, label_cells
from pertorch.cli.report._targets import target_table

GUIDES, PREPARED, DISTANCES, LIKENESS, MIXSCAPE, FIGURES = (
    "guide calls", "normalisation and components", "distances and tests", "targets that are alike", "Mixscape", "page"
)  # fmt: skip


@dataclass
class Steps:
    """Says which step is on, times it, and keeps what it noted and warned of."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warned: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of them."""
        self.console.note(f"{name} …")
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        known = {text for texts in self.warned.values() for text in texts}
        said = dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)
        self.warned[name] = tuple(text for text in said if text not in known)
        for text in self.warned[name]:
            self.console.note(f"  warning: {text}")

    def note(self, text: str) -> None:
        """What was done, for the terminal and the page."""
        self.notes.append(text)
        self.console.note(f"  {text}")


@dataclass(frozen=True)
class Findings:
    """What all steps found.

    Attributes
    ----------
    files
        What was read, with labels and calls in it.
    study
        Labels, control, options.
    prepared
        What was compared, with the classes in its ``obs``.
    calls
        Guides; None without guide counts.
    labelled
        How cells got their labels, where the file had none.
    measured, likeness, classified
        Distances, targets that are alike, classes; None where a step was left out.
    table
        All that was found of each target.
    steps
        What was noted on the way.
    """

    files: Files
    study: Study
    prepared: Prepared
    calls: GuideCalls | None
    labelled: str | None
    measured: Measured
    likeness: Likeness | None
    classified: Classified | None
    table: pd.DataFrame
    steps: Steps


def find(files: Files, options: Options, console: Console) -> Findings:
    """Go through all steps; what is wrong with the request is found before the long ones.

    Parameters
    ----------
    files
        What was read. Guide calls, and labels where it has none, are written into it.
    options
        What is asked.
    console
        Where notes go.

    Raises
    ------
    CliError, KeyError, ValueError
        If the data have no such labels, control or splits, or hold what cannot be analysed.
    """
    steps, calls = Steps(console), None
    if files.guides is not None:
        with steps.step(GUIDES):
            calls = GuideCalls.make(files.guides, options.guide_method, progress=console.progress)
            files.genes.obs[LABEL] = calls.labels.array
    labelled = label_cells(files, calls, options)
    study = Study.of(files.genes, options, progress=console.progress)
    with steps.step(PREPARED):
        prepared = prepare(
            files.genes, layer=options.counts, total_counts=options.total_counts, exclude=options.exclude_genes,
            obsm=options.obsm, n_pcs=options.new_pcs, note=steps.note,
        )  # fmt: skip
        if not prepared.work.obs_names.is_unique:  # figures find cells by name
            prepared.work.obs_names = [str(i) for i in range(prepared.work.n_obs)]
    with steps.step(DISTANCES):
        measured = measure(study, prepared.work)
    with steps.step(LIKENESS):
        likeness = compare(study, prepared.work, measured)
    classified = None
    if options.mixscape:
        with steps.step(MIXSCAPE):
            classified = classify(study, prepared.work)
    table = target_table(measured, likeness, classified)
    return Findings(files, study, prepared, calls, labelled, measured, likeness, classified, table, steps)
