"""One call of a method: check, assign, word the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from pertorch.data import check_writable
from pertorch.exec import resolve_devices
from pertorch.pp import _arguments as arguments
from pertorch.pp import _methods as methods
from pertorch.pp._counts import Counts, above, with_counts
from pertorch.pp._labels import Wording, all_guides
from pertorch.pp._setting import Setting

if TYPE_CHECKING:
    from anndata import AnnData


class Found(NamedTuple):
    """Labels of cells, cells × guides as the counts are stored, parameters of the fits, and what to warn of."""

    labels: pd.Categorical
    matrix: Any
    parameters: pd.DataFrame
    notes: tuple[str, ...]


def run_method(
    adata: AnnData | Any,
    method: str,
    options: Mapping[str, Any],
    *,
    layer: str | None,
    var: pd.DataFrame | None,
    keys: Mapping[str, str],
    wording: Wording,
    batch_key: str | None = None,
    umi_threshold: float = 1,
    show_progress: bool | None,
    writes: bool,
) -> Found:
    """Assign by the method of this name. Errors come before work, and nothing is written.

    Parameters
    ----------
    keys
        What will be written where, by the name of the argument.
    writes
        Whether the caller will write to `adata`.
    adata, method, options, layer, var, wording, batch_key, umi_threshold, show_progress
        See :meth:`pertorch.GuideAssignment.assign`.
    """
    function = methods.find(method, options)
    for name, value in keys.items():
        arguments.key(value, name)
    umi_threshold = arguments.positive_threshold(umi_threshold, "umi_threshold")
    if writes:
        check_writable(adata)
    devices = resolve_devices()

    def work(counts: Counts) -> Found:
        arguments.free_labels(wording, counts.guides)
        batches = methods.batches(adata, batch_key, counts.shape[0])
        assigned, parameters, notes = function(counts, Setting(batches, devices, show_progress), **options)
        if umi_threshold > 1:
            assigned = assigned.multiply(above(counts, umi_threshold)).tocsr()
        return Found(all_guides(assigned, counts.guides, wording), counts.restore(assigned), parameters, notes)

    return with_counts(work, adata, layer, var, devices[0])
