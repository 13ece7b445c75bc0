from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from sklearn.decomposition import PCA

from pertorch.cli import _embedding
from pertorch.cli._embedding import embed, log_normalise, principal_components, read_expression
from pertorch.ds import Screen


@pytest.fixture(scope="module")
def counts(screen: Screen) -> sp.csr_array:
    return sp.csr_array(screen.genes.X)


@pytest.mark.parametrize("genes", [0, 10_000], ids=["arpack", "covariance"])
def test_components_against_a_full_svd(counts: sp.csr_array, genes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_embedding, "COVARIANCE_GENES", genes)
    monkeypatch.setattr(_embedding, "SLAB_BYTES", 8 * 120 * 33)  # several slabs, the last one short
    values = log_normalise(counts, counts.sum(1).astype(float))
    found = principal_components(values, 12)
    truth = PCA(12, svd_solver="full").fit_transform(values.toarray())
    signs = np.sign((found * truth).sum(0))
    np.testing.assert_allclose(found, truth * signs, atol=1e-9)
    np.testing.assert_array_equal(found, principal_components(values, 12))


@pytest.mark.parametrize(("shape", "comps"), [((30, 5), 5), ((4, 20), 3), ((40, 40), 10), ((2, 1), 1)])
def test_no_more_components_than_there_are(shape: tuple[int, int], comps: int) -> None:
    values = sp.csr_array(np.random.default_rng(0).random(shape))
    assert principal_components(values, 10).shape == (shape[0], comps)


def test_the_largest_loading_is_positive(counts: sp.csr_array) -> None:
    values = log_normalise(counts, counts.sum(1).astype(float))
    centred = values.toarray() - values.mean(0)
    loadings = np.linalg.lstsq(principal_components(values, 120), centred, rcond=None)[0]
    assert (loadings[np.arange(20), np.abs(loadings[:20]).argmax(1)] > 0).all()


def test_log_normalise() -> None:
    counts = sp.csr_array(np.array([[1, 3, 0], [0, 0, 0], [0, 5, 5]], dtype=np.int64))
    found = log_normalise(counts, np.array([4.0, 0.0, 100.0])).toarray()
    np.testing.assert_allclose(found, np.log1p([[2500, 7500, 0], [0, 0, 0], [0, 500, 500]]), rtol=1e-15)


def test_totals_are_of_all_genes(screen: Screen) -> None:
    read = read_expression(screen.genes, exclude=["target*", "gene10?"])
    np.testing.assert_array_equal(read.totals, np.asarray(screen.genes.X.sum(1)).ravel())
    assert read.values.shape == (400, 120 - 5 - 10)


def test_totals_that_are_given(screen: Screen) -> None:
    adata = screen.genes.copy()
    adata.obs["depth"] = 2 * np.asarray(adata.X.sum(1)).ravel()
    read = read_expression(adata, total_counts="depth")
    np.testing.assert_array_equal(read.totals, adata.obs["depth"])
    adata.X = adata.X.log1p()
    with pytest.raises(ValueError, match="totals from 'depth' do not apply"):
        read_expression(adata, total_counts="depth")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1.0, 2.0], [0.0, 3.0]], "counts"),
        ([[1, 2], [0, 3]], "counts"),
        ([[0.5, 2.0], [0.0, 3.0]], "log-normalised"),
        ([[-0.5, 200.0], [0.0, 3.0]], "scaled"),
        ([[-1.0, 2.0], [0.0, 3.0]], "scaled"),
    ],
)
def test_kinds(values: list[list[float]], kind: str) -> None:
    assert read_expression(AnnData(np.array(values))).kind == kind


def test_every_storage_gives_the_same(screen: Screen) -> None:
    truth = embed(screen.genes)
    for convert in (sp.csc_matrix, sp.csr_array, lambda x: x.toarray(), lambda x: x.astype(np.int32)):
        adata = AnnData(convert(screen.genes.X), obs=screen.genes.obs, var=screen.genes.var)
        np.testing.assert_array_equal(embed(adata), truth)


def test_nothing_in_the_data_changes(screen: Screen) -> None:
    before = screen.genes.copy()
    embed(screen.genes, exclude=["target*"])
    np.testing.assert_array_equal(screen.genes.X.data, before.X.data)
    assert not screen.genes.obsm
