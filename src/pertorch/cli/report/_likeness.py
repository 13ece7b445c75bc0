"""Step: which targets change cells alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pertorch import pl
from pertorch.cli.page import Column, Section, Table
from pertorch.cli.report._distances import KEY, METRIC, Measured
from pertorch.cli.report._drawing import Drawing
from pertorch.cli.report._study import Study
from pertorch.cli.report._words import counted, listed
from pertorch.tl import Distance

if TYPE_CHECKING:
    from collections.abc import Hashable

    from anndata import AnnData

MOST = 100  # targets that are compared with one another
NEAR = 0.5  # of the smaller of two targets' distances to the control


class Likeness(NamedTuple):
    """Targets beside one another.

    Attributes
    ----------
    pairwise
        E-distances of the targets with an effect and the control, which is last.
    groups
        Targets that are alike, the farthest first, in groups of two or more; the group of the farthest first.
    """

    pairwise: pd.DataFrame
    groups: tuple[tuple[Hashable, ...], ...]


def compare(study: Study, work: AnnData, measured: Measured) -> Likeness | None:
    """Distances among the targets whose effect is clear, and who is near whom; None for fewer than two."""
    table = measured.targets
    clear = table.index[table["effect"] & (table["lower"] > 0)][:MOST]
    if len(clear) < 2:
        return None
    pairwise = Distance(METRIC, obsm_key=KEY).pairwise(
        work, study.options.groupby, groups=[*clear, study.control], show_progressbar=study.progress
    )
    assert isinstance(pairwise, pd.DataFrame)  # several only with bootstrap
    return Likeness(pairwise, alike(pairwise))


def alike(pairwise: pd.DataFrame) -> tuple[tuple[Hashable, ...], ...]:
    """Groups in which any two are nearer to each other than `NEAR` of either's distance to the control.

    Complete linkage on that ratio: a group is cut off where it would take in one that is not near all of its members.

    Parameters
    ----------
    pairwise
        Square table of distances, the control last, the others in the order in which groups name them.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    values = np.maximum(pairwise.to_numpy(np.float64), 0)
    apart, to_control = values[:-1, :-1], values[:-1, -1]
    smaller = np.maximum(np.minimum(to_control[:, None], to_control), np.finfo(float).tiny)
    ratio = np.minimum(apart / smaller, 1 / np.finfo(float).eps)
    np.fill_diagonal(ratio, 0)
    if len(ratio) < 2:
        return ()
    cluster = fcluster(linkage(squareform(ratio, checks=False), "complete"), NEAR, "distance")
    members = pd.Series(pairwise.index[:-1]).groupby(cluster, sort=False).agg(tuple)
    return tuple(group for group in members if len(group) > 1)


def likeness_section(study: Study, found: Likeness, drawing: Drawing) -> Section:
    """The groups, and the distances among targets."""
    n = len(found.pairwise) - 1
    prose = [
        f"Distances among the {counted(n, 'target')} whose effect is clear (adjusted p below {study.options.fdr:g}, "
        "interval above 0). Targets are called alike where each is nearer to the other than half of either's "
        f"distance to `{study.control}`; in a group this holds for any two. Members of one pathway tend to be.",
    ]
    if not found.groups:
        prose.append("By that measure no two of them are alike.")
    rows = pd.DataFrame(
        {
            "group": range(1, len(found.groups) + 1),
            "members": [len(group) for group in found.groups],
            "targets": [listed(group, n) for group in found.groups],
        }
    )
    columns = (
        Column("group", "group", "In order of the member that is farthest from the control.", "number"),
        Column("members", "members", "", "number"),
        Column("targets", "targets", "The farthest from the control first."),
    )
    tables = (Table("Targets that change cells alike", rows, columns),) if found.groups else ()
    figures = drawing(
        lambda: pl.distance_heatmap(found.pairwise, label="E-distance", return_fig=True),
        f"E-distances of these targets to one another and to `{study.control}`, clustered. All cells are compared, "
        "whatever their split. Targets near one another, and far from it, are alike. `pairwise.csv` holds the "
        "numbers.",
        f"Heat map of {n + 1} × {n + 1} distances.",
    )
    return Section("Targets that are alike", tuple(prose), tables, figures)
