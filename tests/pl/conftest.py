from __future__ import annotations

from collections.abc import Iterator

import pytest

from pertorch.ds import simulate_screen
from pertorch.tl import Mixscape


@pytest.fixture(autouse=True)
def _nothing_of_matplotlib_changes() -> Iterator[None]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


@pytest.fixture(scope="session")
def called():
    """A screen of 12 targets with classes, scores and discriminants."""
    import numpy as np

    genes, _ = simulate_screen(900, 200, 12, effects=[2] * 10 + [0] * 2, n_batches=2)
    values = genes.X.toarray()
    genes.X = np.log1p(values * (1e4 / values.sum(1, keepdims=True))).astype(np.float32)
    genes.obsm["X_pca"] = np.linalg.svd(genes.X - genes.X.mean(0), full_matrices=False)[0][:, :8]
    mixscape = Mixscape()
    mixscape.perturbation_signature(genes, "gene_target", "NT", n_dims=8)
    mixscape.mixscape(genes, "gene_target", "NT", split_by="batch")
    mixscape.mixscale(genes, "gene_target", "NT")
    mixscape.lda(genes, "gene_target", "NT")
    return genes


@pytest.fixture(scope="session")
def guides():
    from pertorch.pp import GuideAssignment

    guides = simulate_screen(600, 60, 4)[1]
    GuideAssignment().assign_mixture_model(guides)
    GuideAssignment().assign(guides, method="threshold")
    return guides
