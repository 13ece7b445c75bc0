"""What a report reads: gene expression and, where there are any, guide counts of the same cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from pertorch.cli._console import CliError
from pertorch.cli._formats import in_memory, read_content
from pertorch.cli._io import check_not_empty
from pertorch.cli.report._words import counted

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Files:
    """What was read.

    Attributes
    ----------
    genes
        Gene expression with all that the file holds, in memory: the report is written into it.
    guides
        Guide counts of the same cells in the same order; None where there are none.
    notices
        What a reader should know about it.
    """

    genes: AnnData
    guides: AnnData | None
    notices: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str, guides_path: str | None, *, with_guides: bool = True) -> Files:
        """Read a screen, and its guide counts from a file of their own or from the same.

        Raises
        ------
        CliError
            If a file cannot be read or is empty, or the two have no cell in common.
        """
        content = read_content(path)
        genes = content.part("genes", path)
        check_not_empty(genes, path)
        genes = in_memory(genes, path)
        if not with_guides:
            return cls(genes, None)
        guides = content.guides if guides_path is None else read_content(guides_path).part("guides", guides_path)
        if guides is None:
            return cls(genes, None)
        check_not_empty(guides, guides_path or path)
        return cls.together(genes, in_memory(guides, guides_path or path), guides_path or path)

    @classmethod
    def together(cls, genes: AnnData, guides: AnnData, guides_path: str) -> Files:
        """Guide counts in the order of the cells of `genes`; a cell without any has none.

        Raises
        ------
        CliError
            If names of cells repeat, or none is in both.
        """
        from anndata import AnnData

        if genes.obs_names.equals(guides.obs_names):
            return cls(genes, guides)
        for adata, what in ((genes, "the screen"), (guides, guides_path)):
            if not adata.obs_names.is_unique:
                raise CliError(f"names of cells repeat in {what}: make them unique, so that guides find their cells.")
        at = guides.obs_names.get_indexer(genes.obs_names)
        found = np.flatnonzero(at >= 0)
        if not len(found):
            raise CliError(
                f"{guides_path} has no cell of the screen: its first is {guides.obs_names[0]!r}, the screen's "
                f"{genes.obs_names[0]!r}."
            )
        place = sp.csr_matrix((np.ones(len(found), np.float32), (found, at[found])), shape=(genes.n_obs, guides.n_obs))
        aligned = AnnData(
            sp.csr_matrix(place @ sp.csr_matrix(guides.X)), obs=pd.DataFrame(index=genes.obs_names), var=guides.var
        )
        lacking = genes.n_obs - len(found)
        notices = (f"{counted(lacking, 'cell has', 'cells have')} no guide counts: no guide is called in them.",)
        return cls(genes, aligned, notices if lacking else ())
