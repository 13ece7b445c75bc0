from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

GROUPS = ("ctrl", "a", "b", "c")


@pytest.fixture
def screen() -> AnnData:
    """107 cells in 4 groups, 9 genes: layers ``counts`` and ``log`` (float64), ``*_csr``, and ``*32`` in float32."""
    random = np.random.RandomState(7)  # its streams are frozen
    group = np.repeat(np.arange(4), [30, 12, 45, 20])
    mean = random.gamma(2.0, 1.5, size=(1, 9)) * np.exp(random.normal(0, 0.4, size=(4, 9)))
    counts = random.negative_binomial(1.5, 1.5 / (1.5 + mean[group])).astype(float)
    obs = pd.DataFrame({"target": pd.Categorical(np.array(GROUPS)[group], GROUPS)}, index=map(str, range(len(group))))
    adata = AnnData(np.zeros_like(counts), obs=obs)
    for name, values in (("counts", counts), ("log", np.log1p(counts))):
        adata.layers[name], adata.layers[f"{name}_csr"] = values, sp.csr_matrix(values)
        adata.layers[f"{name}32"] = values.astype(np.float32)
        adata.layers[f"{name}32_csr"] = sp.csr_matrix(values.astype(np.float32))
    return adata


@pytest.fixture
def parts(screen: AnnData):
    """Cells of each group in a layer."""

    def of(layer: str) -> dict[str, np.ndarray]:
        return {g: screen.layers[layer][(screen.obs["target"] == g).to_numpy()] for g in GROUPS}

    return of
