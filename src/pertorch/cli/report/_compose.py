"""From findings to a page, and to the files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pertorch.cli._guides import LABEL
from pertorch.cli._io import h5ad_writer
from pertorch.cli.page import Column, Page, Section, Table, render
from pertorch.cli.report import _pipeline as pipeline
from pertorch.cli.report._distances import distances_section
from pertorch.cli.report._drawing import Drawing
from pertorch.cli.report._guides import guide_table, guides_section
from pertorch.cli.report._likeness import likeness_section
from pertorch.cli.report._mixscape import cell_columns, mixscale_section, mixscape_section
from pertorch.cli.report._pipeline import Findings
from pertorch.cli.report._record import Record, record_section
from pertorch.cli.report._summary import facts, next_steps, plain, summary
from pertorch.cli.report._targets import targets_section
from pertorch.cli.report._words import counted

if TYPE_CHECKING:
    from anndata import AnnData

PAGE, ANNOTATED, RUN = "report.html", "annotated.h5ad", "run.json"
RESULT = "pertorch_report"  # key in uns of the annotated file


def compose(found: Findings, record: Record, title: str, files: Sequence[str], more: Sequence[Section] = ()) -> Page:
    """Write the page.

    Parameters
    ----------
    found
        What all steps found.
    record
        What was done.
    title
        Heading.
    files
        Names of the files beside the page.
    more
        Sections of the caller's, after the table of targets.
    """
    study, table, work = found.study, found.table, found.prepared.work
    with found.steps.step(pipeline.FIGURES):
        sections = _sections(found, Drawing(study.options.figures), more)
    last = record_section(record, tuple(found.steps.notes), tuple(files))
    sections.append(_with(last, found.steps.warned[pipeline.FIGURES]))
    return Page(
        title,
        f"{counted(study.adata.n_obs, 'cell')}, {counted(len(table), 'target')}, control `{study.control}`; pertorch "
        f"{record.versions['pertorch']}, {record.date}",
        summary(study, table, found.likeness),
        facts(study, table, work.n_vars, found.calls),
        next_steps(study, table, found.likeness),
        tuple(sections),
    )


def _sections(found: Findings, drawing: Drawing, more: Sequence[Section]) -> list[Section]:
    """What each step found, in the order in which a reader asks."""
    study, table, work, warned = found.study, found.table, found.prepared.work, found.steps.warned
    sections = [targets_section(study, table), *more]
    sections.append(_with(_cells_section(found, drawing), warned[pipeline.PREPARED]))
    if found.calls is not None:
        labels = found.files.genes.obs[study.options.groupby]
        of_guides = guides_section(found.calls, labels, drawing, found.files.notices)
        sections.append(_with(of_guides, warned[pipeline.GUIDES]))
        work.obs[LABEL] = found.calls.own_guide(labels)
    sections.append(_with(distances_section(study, found.measured, drawing), warned[pipeline.DISTANCES]))
    if found.likeness is not None:
        sections.append(_with(likeness_section(study, found.likeness, drawing), warned[pipeline.LIKENESS]))
    if found.classified is not None:
        guide_column = LABEL if found.calls is not None else None
        of_classes = mixscape_section(study, work, found.classified, table.index, guide_column, drawing)
        sections.append(_with(of_classes, warned[pipeline.MIXSCAPE]))
        if study.options.mixscale:
            sections.append(mixscale_section(study, work, found.classified, drawing))
    return sections


def plain_summary(found: Findings) -> tuple[str, ...]:
    """The paragraphs of the first screen, without marks."""
    return tuple(plain(text) for text in summary(found.study, found.table, found.likeness))


def tables(found: Findings) -> dict[str, pd.DataFrame]:
    """The CSV files by name; all have their labels in columns."""
    written = {"targets.csv": found.table.reset_index(), "cells.csv": _cells(found)}
    if found.calls is not None:
        written["guides.csv"] = guide_table(found.calls)
    if found.measured.strata is not None:
        written["distances_by_split.csv"] = found.measured.strata
    if found.likeness is not None:
        written["pairwise.csv"] = found.likeness.pairwise.reset_index()
    if found.classified is not None:
        written["markers.csv"] = found.classified.markers
        if found.classified.by_split is not None:
            written["perturbed_by_split.csv"] = found.classified.by_split
    return written


def annotated(found: Findings, record: Record) -> AnnData:
    """The caller's data with what was found in them. Changes that of the findings, which is the report's own."""
    adata, work = found.files.genes, found.prepared.work
    if found.classified is not None:
        _copy(cell_columns(work, found.study.options.type), adata.obs)
    if found.prepared.key is None:
        adata.obsm["X_pca" if "X_pca" not in adata.obsm else "X_pca_pertorch"] = work.obsm["X_pca"]
    table = found.table.set_axis(found.table.index.astype(str))
    adata.uns[RESULT] = {"targets": table, "record": json.dumps(record.as_dict())}
    return adata


def writers(
    found: Findings, record: Record, title: str, more: Sequence[Section] = ()
) -> dict[str, Callable[[Path], object]]:
    """What writes each file, by name; the page last."""
    frames = tables(found)
    page = render(compose(found, record, title, [ANNOTATED, *frames, RUN], more))
    text = json.dumps(record.as_dict(), indent=2, ensure_ascii=False) + "\n"
    return {
        ANNOTATED: h5ad_writer(annotated(found, record)),
        **{name: _csv(frame) for name, frame in frames.items()},
        RUN: lambda path: path.write_text(text, encoding="utf-8"),
        PAGE: lambda path: path.write_text(page, encoding="utf-8"),
    }


def _csv(frame: pd.DataFrame) -> Callable[[Path], object]:
    return lambda path: frame.to_csv(path, index=False)


def _copy(columns: pd.DataFrame, to: pd.DataFrame) -> None:
    """Cell by cell, since names may repeat."""
    for name in columns:
        to[name] = columns[name].array


def _with(section: Section, warned: Sequence[str]) -> Section:
    return replace(section, notices=(*section.notices, *warned))


def _cells(found: Findings) -> pd.DataFrame:
    """One row for each cell."""
    options, genes = found.study.options, found.files.genes
    columns = [options.groupby, *([options.split_by] if options.split_by else [])]
    table = genes.obs[columns].copy()
    if found.calls is not None:
        table[LABEL] = found.calls.labels.to_numpy()
    if found.classified is not None:
        _copy(cell_columns(found.prepared.work, options.type), table)
    return table.rename_axis("cell").reset_index()


def _cells_section(found: Findings, drawing: Drawing) -> Section:
    """What was read."""
    study, read = found.study, found.prepared.read
    prose = [found.labelled or f"Labels are those of the column `{study.options.groupby}`."]
    if read.totals is not None:
        prose.append(f"A cell has {np.median(read.totals):,.0f} counts (median) that its expression was divided by.")
    prose.append(f"What was done: {'; '.join(found.steps.notes)}.")
    notices = list(drawing.notices)
    if study.n_unlabelled and not found.labelled:
        notices.append(f"{counted(study.n_unlabelled, 'cell has', 'cells have')} no label, and take no part.")
    elif study.n_unlabelled > study.adata.n_obs / 2:
        notices.append(f"{counted(study.n_unlabelled, 'cell')}, more than half, could not be labelled by their guides.")
    if not found.files.genes.obs_names.is_unique:
        notices.append("Names of cells repeat: rows of `cells.csv` are in the order of the data.")
    if read.kind != "counts":
        notices.append("The expression was normalised before it came here: it was taken as it is.")
    if found.prepared.key is not None:
        notices.append(
            f"Distances are in `obsm['{found.prepared.key}']` of the file, made before it came here: if it was "
            "corrected for batches, or made of few genes, distances are what that left. `--n-pcs 50` makes "
            "components from the counts."
        )
    sizes = pd.Series(study.groups.sizes.numpy(), index=list(study.groups.names)).sort_values(ascending=False)
    frame = (
        sizes.rename_axis("label").rename("cells").reset_index().assign(share=lambda t: t["cells"] / study.adata.n_obs)
    )
    columns = (
        Column("label", "label"),
        Column("cells", "cells", "", "number"),
        Column("share", "share", "Of all cells.", "percent"),
    )
    return Section("Cells", tuple(prose), (Table("Cells by label", frame, columns),), (), tuple(notices))
