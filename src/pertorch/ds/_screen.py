"""A simulated screen as two AnnData."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.ds._truth import Cells, Pool

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class Screen(NamedTuple):
    """A simulated screen: two AnnData over the same cells.

    Attributes
    ----------
    genes
        Raw counts, cells × genes, with the truth in ``obs``, ``varm`` and ``uns``.
    guides
        Raw guide counts, cells × guides, with the truth in ``obs`` and each guide's target in ``var``.
    """

    genes: AnnData
    guides: AnnData

    def to_mudata(self) -> MuData:
        """Both as one object: modalities ``"rna"`` and ``"gdo"`` (guide-derived oligonucleotides), truth in ``obs``.

        Raises
        ------
        ImportError
            If mudata is not installed.
        """
        try:
            import mudata
        except ImportError as error:
            raise ImportError("MuData needs mudata: pip install pertorch[datasets]") from error
        # Before 0.4 it copied columns up by default, and warned.
        older = getattr(mudata, "set_options", None)
        with older(pull_on_update=False) if older else nullcontext():
            both = mudata.MuData({"rna": self.genes, "gdo": self.guides})
        for column in self.genes.obs:
            both.obs[column] = self.genes.obs[column]
        return both


def annotate(
    counts: sp.csr_matrix,
    guide_counts: sp.csr_matrix,
    pool: Pool,
    cells: Cells,
    effect: NDArray[np.float64],
    program: NDArray[np.int64],
    log2fc: NDArray[np.float64],
) -> Screen:
    """Counts with the truth about them in ``obs``, ``var``, ``varm`` and ``uns``: see :func:`simulate_screen`."""
    from anndata import AnnData

    *targets, _ = pool.labels
    n_cells, (n_genes, n_targets) = len(cells.target), log2fc.shape
    batches = [f"batch{b + 1}" for b in range(cells.batch.max() + 1)]
    obs = pd.DataFrame(
        {
            "gene_target": pd.Categorical.from_codes(cells.target, pool.labels),
            "guide": pd.Categorical.from_codes(cells.guide, pool.guides),
            "responder": cells.responder,
            "batch": pd.Categorical.from_codes(cells.batch, batches),
        },
        index=_names("cell", n_cells),
    )
    genes = pd.Index([*targets, *_names("gene", n_genes)[n_targets:]])
    responders = np.bincount(cells.target[cells.responder], minlength=n_targets)[:n_targets]
    carriers = np.bincount(cells.target, minlength=n_targets)[:n_targets]
    planted = pd.DataFrame(
        {"effect": effect, "program": program, "responder_fraction": responders / np.maximum(carriers, 1)},
        index=pd.Index(targets, name="gene_target"),
    )
    log2fc_frame = pd.DataFrame(log2fc, index=genes, columns=targets)
    guide_target = pd.Categorical.from_codes(pool.guide_label, pool.labels)
    return Screen(
        AnnData(
            counts,
            obs=obs,
            var=pd.DataFrame(index=genes),
            varm={"planted_log2fc": log2fc_frame},
            uns={"planted": planted},
        ),
        AnnData(guide_counts, obs=obs.copy(), var=pd.DataFrame({"gene_target": guide_target}, index=pool.guides)),
    )


def _names(what: str, count: int) -> list[str]:
    return [f"{what}{i + 1:0{len(str(count))}d}" for i in range(count)]
