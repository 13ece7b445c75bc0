"""A verb of `Distance`, ours and a peer's, on the same data: the peer is imported where its call is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import anndata as ad
import numpy as np

from benchmarks._registry import Call, Work
from benchmarks.workloads import GROUPBY
from pertorch import Distance


class Peer(NamedTuple):
    """Where a peer's `Distance` is, its distribution, where it looks unless told otherwise, and its own options."""

    module: str
    package: str
    stored: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}


PERTPY = Peer("pertpy.tools", "pertpy", {"obsm_key": "X_pca"}, {"show_progressbar": False})
RAPIDS = Peer("rapids_singlecell.ptg", "rapids-singlecell-cu13")


def relative_difference(ours: Any, peer: Any) -> float:
    """Largest difference of two frames or series, as a fraction of the largest value."""
    peer = peer.loc[ours.index] if ours.ndim == 1 else peer.loc[ours.index, ours.columns]
    return float(np.abs(ours.to_numpy() - peer.to_numpy()).max() / np.abs(ours.to_numpy()).max())


def beside(
    peer: Peer,
    metric: str,
    verb: str,
    adata: ad.AnnData,
    *,
    stored: Mapping[str, Any] | None = None,
    ours: Mapping[str, Any] | None = None,
    difference: Callable[[Any, Any], float] | None = relative_difference,
    **options: Any,
) -> Work:
    """The work of one verb.

    Parameters
    ----------
    stored
        ``layer_key`` or ``obsm_key`` of both; by default ``obsm["X_pca"]``.
    ours
        More that ours is made with.
    difference
        ``None`` where the two draw random numbers of their own, so that results are not compared.
    **options
        Of the verb, the same for both.
    """
    stored = dict(stored or {})
    call = getattr(Distance(metric, **stored, **(ours or {})), verb)

    def theirs() -> Call:
        tool = import_module(peer.module).Distance(metric, **(stored or peer.stored))
        return partial(getattr(tool, verb), adata, groupby=GROUPBY, **options, **peer.options)

    return Work(partial(call, adata, groupby=GROUPBY, **options), theirs, peer.package, difference)
