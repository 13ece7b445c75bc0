"""Every method by one call, beside crispat's own assignments where there are any."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment
from pertorch.pp import _counts
from pertorch.pp._methods import ALIASES, METHODS

ignore_view = pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")


def simulate(n_cells=600, n_guides=5, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.2, (n_cells, n_guides))
    own = rng.integers(0, n_guides, n_cells)
    counts[np.arange(n_cells), own] += rng.poisson(30, n_cells)
    counts[:25, 1] += 30
    counts[rng.choice(n_cells, 20, replace=False)] = 0
    return counts.astype(np.float64), own


@pytest.fixture
def assigner():
    return GuideAssignment()


@pytest.fixture
def adata():
    counts, own = simulate()
    out = ad.AnnData(
        sp.csr_matrix(counts.astype(np.float32)), obs=pd.DataFrame({"own": own}, index=map(str, range(600)))
    )
    out.obs["lane"] = np.where(np.arange(600) % 3, "a", "b")
    out.var_names = [f"g{i}" for i in range(5)]
    return out


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_what_was_planted(assigner, adata, method):
    assert assigner.assign(adata, method=method, **({"quantile": 0.65} if method == "quantiles" else {})) is None
    calls = adata.layers["assigned_guides"]
    assert sp.issparse(calls)
    assert calls.dtype == np.int8
    assert (calls.data == 1).all()
    held = adata.X.toarray().sum(1) > 0
    own = calls.toarray()[np.arange(600), adata.obs["own"]]
    assert own[held].mean() > 0.9
    assert not calls.toarray()[~held].any()
    names = adata.var_names.to_numpy()
    expected = ["+".join(names[row]) if row.any() else "negative" for row in calls.toarray() > 0]
    assert list(adata.obs["assigned_guide"]) == expected
    assert adata.uns["guide_assignment"]["method"] == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batched", [False, True])
def test_slabs_storage_and_file_do_not_show(assigner, adata, method, batched, monkeypatch, tmp_path):
    call = {"method": method, "batch_key": "lane" if batched else None}
    assigner.assign(adata, **call)
    calls = adata.layers["assigned_guides"].toarray()
    monkeypatch.setattr(_counts, "SLAB_BYTES", 1600)
    for form in (np.asarray, sp.csc_array):
        other = ad.AnnData(form(adata.X.toarray().astype(np.int32)), obs=adata.obs[["lane"]].copy())
        other.var_names = adata.var_names
        assigner.assign(other, **call)
        found = other.layers["assigned_guides"]
        np.testing.assert_array_equal(found.toarray() if sp.issparse(found) else found, calls)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert list(back.uns["guide_assignment"]["parameters"].columns) == list(
        adata.uns["guide_assignment"]["parameters"].columns
    )


def test_other_names(assigner, adata):
    for alias, name in ALIASES.items():
        one, other = (assigner.assign(adata, method=m, only_return_results=True) for m in (alias, name))
        assert list(one) == list(other)


def test_nothing_is_written_where_only_results_are_asked_for(assigner, adata):
    before = {*adata.obs, *adata.var, *adata.uns, *adata.layers}
    for method in METHODS:
        assert len(assigner.assign(adata, method=method, only_return_results=True)) == 600
    assert {*adata.obs, *adata.var, *adata.uns, *adata.layers} == before


def test_umi_threshold_takes_away_what_has_fewer(assigner, adata):
    assigner.assign(adata, method="quantiles", quantile=0.9)
    loose = adata.layers["assigned_guides"].toarray()
    assigner.assign(adata, method="quantiles", quantile=0.9, umi_threshold=3)
    np.testing.assert_array_equal(adata.layers["assigned_guides"].toarray(), loose & (adata.X.toarray() >= 3))


@pytest.mark.parametrize("method", ["gauss", "2beta", "3beta"])
def test_batches_are_fitted_apart(assigner, adata, method):
    assigner.assign(adata, method=method, batch_key="lane")
    both = adata.layers["assigned_guides"].toarray()
    parameters = adata.uns["guide_assignment"]["parameters"]
    assert set(parameters["batch"]) == {"a", "b"}
    for lane in "ab":
        part = adata[adata.obs["lane"] == lane].copy()
        assigner.assign(part, method=method)
        np.testing.assert_array_equal(part.layers["assigned_guides"].toarray(), both[adata.obs["lane"] == lane])


def test_depth_methods_have_an_effect_for_each_batch(assigner, adata):
    assigner.assign(adata, method="poisson", batch_key="lane")
    assert {"batch_a", "batch_b"} <= set(adata.uns["guide_assignment"]["parameters"])


def test_quantiles_take_so_many(assigner):
    counts = np.array([[1, 9], [3, 1], [5, 5], [0, 2], [2, 2], [4, 4]])
    calls = np.zeros((6, 2), dtype=bool)
    # shares of guide 0: .1 .75 .5 0 .5 .5 (5 cells hold it), of guide 1: .9 .25 .5 1 .5 .5 (6 cells)
    calls[[1, 2], 0] = True  # the place at 0.5 goes to the cell with most counts
    calls[[3, 0, 2], 1] = True
    labels = assigner.assign(counts, method="quantiles", quantile=0.5, var=pd.DataFrame(index=["x", "y"]))
    assert list(labels) == ["+".join(np.array(["x", "y"])[row]) or "negative" for row in calls]


def test_ratio_is_strict_and_gives_all_that_tie(assigner):
    counts = np.array([[2, 2, 0], [3, 1, 0], [2, 1, 1], [0, 0, 0]])
    var = pd.DataFrame(index=list("abc"))
    assert list(assigner.assign(counts, method="ratio", var=var)) == ["negative", "a", "negative", "negative"]
    assert list(assigner.assign(counts, method="ratio", ratio=0.4, var=var)) == ["a+b", "a", "a", "negative"]


BAD_CALLS = {
    "method": ({"method": "gaus"}, ValueError, "did you mean 'gauss'"),
    "option": ({"method": "ratio", "quantile": 0.2}, TypeError, "no option 'quantile': it has ratio"),
    "ratio": ({"method": "ratio", "ratio": 1.5}, ValueError, "ratio=1.5 must be above 0 and below 1"),
    "quantile": ({"method": "quantiles", "quantile": 0}, ValueError, "quantile=0"),
    "threshold": ({"method": "threshold", "assignment_threshold": 0}, ValueError, "above 0"),
    "posterior": ({"method": "poisson", "posterior_threshold": 1}, ValueError, "posterior_threshold=1"),
    "max_iter": ({"method": "2beta", "max_iter": 0}, ValueError, "max_iter=0"),
    "tol": ({"method": "gauss", "tol": 0}, ValueError, "tol=0"),
    "batch": ({"batch_key": "lanes"}, KeyError, "did you mean 'lane'"),
    "NaN batch": ({"batch_key": "hole"}, ValueError, "no batch for 1 cell"),
    "umi": ({"umi_threshold": 0}, ValueError, "umi_threshold=0"),
    "label": ({"no_grna_assigned_key": "g0"}, ValueError, "also the name of a guide"),
    "layer": ({"output_layer": ""}, ValueError, "output_layer is empty"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_say_what_is_wrong_and_change_nothing(assigner, adata, case):
    adata.obs["hole"] = adata.obs["lane"].where(np.arange(600) > 0)
    arguments, error, message = BAD_CALLS[case]
    before = {*adata.obs, *adata.var, *adata.uns, *adata.layers}
    with pytest.raises(error, match=message):
        assigner.assign(adata, **arguments)
    assert {*adata.obs, *adata.var, *adata.uns, *adata.layers} == before


# crispat's own assignments of a real screen. Where ours differ, docs/guides.md says why.
AGREEMENT = {  # method and options: layer, pairs (cell, guide) that may differ
    "threshold": ({"assignment_threshold": 5}, "umi_t5", 0),
    "maximum": ({"assignment_threshold": 3}, "maximum", 35),
    "ratio": ({}, "ratio_t0.5", 0),
    "quantiles": ({}, "quantile_t0.35", 18),
    "2beta": ({}, "2beta", 36),
    "3beta": ({}, "3beta", 103),
    "gauss": ({}, "gauss", 6),
    "poisson_gauss": ({}, "poisson_gauss", 6),
    "poisson": ({}, "poisson", 200),
}


@pytest.mark.parametrize("method", AGREEMENT)
def test_schraivogel_beside_crispat(assigner, schraivogel, method):
    options, layer, apart = AGREEMENT[method]
    assigner.assign(schraivogel, method=method, **options)
    ours = schraivogel.layers["assigned_guides"].toarray() > 0
    theirs = schraivogel.layers[f"crispat_{layer}"].toarray() > 0
    assert (ours != theirs).sum() <= apart
    assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.99


def test_schraivogel_maximum_differs_only_in_ties(assigner, schraivogel):
    assigner.assign(schraivogel, method="maximum", assignment_threshold=3)
    ours = schraivogel.layers["assigned_guides"].toarray() > 0
    theirs = schraivogel.layers["crispat_maximum"].toarray() > 0
    counts = schraivogel.X.toarray()
    tied = (counts == counts.max(1, keepdims=True)).sum(1) > 1
    assert not (ours != theirs)[~tied].any()


def test_schraivogel_binomial_holds_crispats_and_more(assigner, schraivogel):
    """crispat passes exp(η) where its model has η, so that only guides beyond half of a cell's counts pass."""
    assigner.assign(schraivogel, method="binomial")
    ours = schraivogel.layers["assigned_guides"].toarray() > 0
    theirs = schraivogel.layers["crispat_binomial"].toarray() > 0
    assert not (theirs & ~ours).any()
    counts = schraivogel.X.toarray()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    assert share[theirs].min() > 0.5
