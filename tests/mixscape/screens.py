"""Simulated screens with known truth, the same on every machine."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

# name → (spread of log fold changes, fraction that responds, genes that respond)
SETTINGS = {
    "strong": (1.2, 0.7, 40),
    "medium": (0.8, 0.6, 40),
    "weak": (0.6, 0.6, 40),
    "few genes": (1.2, 0.6, 12),
    "few responders": (1.0, 0.3, 40),
    "most respond": (1.0, 0.95, 40),
}


def simulate(setting: str, seed: int = 0, *, n_targets: int = 4, n_genes: int = 300) -> ad.AnnData:
    """Log-normalised CSR: 150 cells a target, 450 controls, two replicates; ``obs["responds"]`` is the truth."""
    effect, fraction, n_responding = SETTINGS[setting]
    rng = np.random.default_rng([seed, list(SETTINGS).index(setting)])
    labels = np.repeat(np.arange(n_targets + 1), [450, *[150] * n_targets])
    base = rng.gamma(0.8, 1.5, n_genes)
    changes = np.zeros((n_targets + 1, n_genes))
    for target in range(1, n_targets + 1):
        changes[target, rng.choice(n_genes, n_responding, replace=False)] = rng.normal(0, effect, n_responding)
    responds = (rng.random(len(labels)) < fraction) & (labels > 0)
    depth = rng.lognormal(0, 0.3, (len(labels), 1))
    counts = rng.poisson(base * np.exp(np.where(responds[:, None], changes[labels], 0)) * depth)
    values = np.log1p(counts / counts.sum(1, keepdims=True) * 1e3).astype(np.float32)
    names = np.array(["NT", *(f"g{i}" for i in range(1, n_targets + 1))])
    obs = pd.DataFrame(
        {
            "target": pd.Categorical(names[labels]),
            "replicate": rng.choice(["a", "b"], len(labels)),
            "guide": [f"{names[k]}-{i}" for k, i in zip(labels, rng.integers(1, 4, len(labels)), strict=True)],
            "responds": responds,
        },
        index=[f"cell{i}" for i in range(len(labels))],
    )
    adata = ad.AnnData(sp.csr_matrix(values), obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    adata.obsm["X_pca"] = u[:, :20] * s[:20]
    return adata
