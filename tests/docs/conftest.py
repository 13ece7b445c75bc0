from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pertorch.ds import simulate_screen


@pytest.fixture(scope="session")
def prepared_screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `screen.h5ad`, log-normalised and with principal components, and `guides.h5ad`."""
    folder = tmp_path_factory.mktemp("screen")
    screen = simulate_screen(900, 200, 5, n_programs=3, program_size=40, effects=[1.2, 1.0, 0.8, 0.3, 0.0])
    genes = screen.genes
    counts = np.asarray(genes.X.todense(), dtype=np.float64)
    genes.X = np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).astype(np.float32)
    genes.obsm["X_pca"] = PCA(15, random_state=0).fit_transform(genes.X)
    genes.write_h5ad(folder / "screen.h5ad")
    screen.guides.write_h5ad(folder / "guides.h5ad")
    return folder
