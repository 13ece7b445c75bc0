import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

METRICS = [
    "edistance",
    "euclidean",
    "root_mean_squared_error",
    "mse",
    "mean_absolute_error",
    "pearson_distance",
    "cosine_distance",
    "r2_distance",
]


@pytest.fixture
def screen():
    """120 cells: labels of every type, a missing label, an unused category; float64 embedding, sparse counts."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 120)
    genes = np.array(["NT", "STAT1", "JAK2", "IRF1"])[codes]
    obs = pd.DataFrame(
        {
            "gene": pd.Categorical(genes, categories=["JAK2", "unused", "NT", "IRF1", "STAT1"]),
            "text": genes.astype(object),
            "number": np.array([10, 2, 1, 7])[codes],
            "flag": codes > 1,
            "replicate": rng.choice(["r1", "r2", "r3"], 120),
            "dose": rng.choice([1, 5], 120),
        },
        index=[f"cell{i}" for i in range(120)],
    )
    obs.loc[["cell3", "cell50"], "gene"] = np.nan
    counts = sp.csr_matrix(rng.poisson(0.8, (120, 9)).astype(np.float32))
    adata = anndata.AnnData(counts, obs=obs)
    adata.layers["counts"] = sp.csr_matrix(rng.poisson(1.2, (120, 9)))
    adata.obsm["X_pca"] = rng.normal(size=(120, 6)) + codes[:, None] * np.linspace(0, 1, 6)
    return adata


@pytest.fixture
def cells_of(screen):
    """The embedding's rows with these values in obs."""

    def rows(**where):
        keep = np.logical_and.reduce([(screen.obs[column] == value).to_numpy() for column, value in where.items()])
        return screen.obsm["X_pca"][keep]

    return rows
