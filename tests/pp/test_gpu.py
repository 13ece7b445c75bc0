"""The same guides on a CUDA device as on the CPU."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment, settings
from pertorch.pp._methods import METHODS

pytestmark = pytest.mark.gpu


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.choice([0.05, 0.3, 1.0], 40), (3000, 40))
    own = rng.integers(0, 40, 3000)
    counts[np.arange(3000), own] += rng.poisson(40 * rng.lognormal(0, 0.6, 3000))
    lanes = pd.DataFrame({"lane": np.where(np.arange(3000) % 2, "a", "b")}, index=np.arange(3000).astype(str))
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=lanes)


def assign(adata, device, **call):
    before = settings.device
    settings.device = device
    try:
        out = adata.copy()
        GuideAssignment().assign(out, **call)
        return out
    finally:
        settings.device = before


@pytest.mark.parametrize("method", METHODS)
def test_same_guides(adata, method):
    host, gpu = (assign(adata, device, method=method, batch_key="lane") for device in ("cpu", "cuda"))
    assert (host.layers["assigned_guides"] != gpu.layers["assigned_guides"]).nnz == 0
    ours, theirs = (x.uns["guide_assignment"]["parameters"].select_dtypes("number") for x in (host, gpu))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_same_bits_on_two_runs(adata):
    runs = [assign(adata, "cuda", method="poisson_gauss").uns["guide_assignment"]["parameters"] for _ in range(2)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)
