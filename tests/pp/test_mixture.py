"""Assignment by the Poisson-Gauss mixture."""

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from pertorch import GuideAssignment
from pertorch.pp import _counts
from pertorch.pp._counts import open_counts
from pertorch.pp._histograms import histograms
from pertorch.solvers._newton import minimize
from pertorch.solvers._poisson_gauss import GuideParameters, PoissonGauss, log_odds, point

ESTIMATES = ["poisson_rate", "gaussian_mean", "gaussian_std", "mix_probs_1"]
COLUMNS = ["poisson_rate", "gaussian_mean", "gaussian_std", "mix_probs_0", "mix_probs_1", "threshold", "final_loss"]


def simulate(n_cells=400, n_guides=6, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.15, (n_cells, n_guides))
    for row, guides in enumerate(rng.integers(0, n_guides, n_cells)):
        counts[row, guides] += rng.poisson(40)
    counts[:20, 1] += 40
    counts[rng.choice(n_cells, 15, replace=False)] = 0
    return counts.astype(np.float64)


@pytest.fixture
def assigner():
    return GuideAssignment()


@pytest.fixture
def adata():
    out = ad.AnnData(sp.csr_matrix(simulate().astype(np.float32)))
    out.var_names = [f"g{i}" for i in range(6)]
    return out


def state(adata):
    return {*adata.obs, *adata.var, *adata.uns, *adata.layers} - {None}


def test_labels_are_the_guides_that_reach_their_threshold(assigner, adata):
    assert assigner.assign_mixture_model(adata) is None
    assert [c for c in adata.var if c in COLUMNS] == COLUMNS
    called = adata.X.toarray() >= adata.var["threshold"].to_numpy()
    names = adata.var_names.to_numpy()
    expected = ["+".join(names[row]) if row.any() else "negative" for row in called]
    labels = adata.obs["assigned_guide"]
    assert list(labels) == expected
    assert isinstance(labels.dtype, pd.CategoricalDtype)
    assert set(labels.cat.categories) == set(expected)
    assert adata.var["threshold"].between(2, 20).all()
    np.testing.assert_allclose(adata.var["mix_probs_0"] + adata.var["mix_probs_1"], 1)


def test_labels_are_worded_as_asked(assigner, adata):
    expected = assigner.assign_mixture_model(adata, only_return_results=True)
    assigner.assign_mixture_model(
        adata,
        assigned_guides_key="call",
        no_grna_assigned_key="none",
        max_assignments_per_cell=1,
        multiple_grna_assigned_key="several",
    )
    reworded = ["none" if e == "negative" else "several" if "+" in e else e for e in expected]
    assert list(adata.obs["call"]) == reworded
    assert "several" in reworded
    joined = assigner.assign_mixture_model(adata, multiple_grna_assignment_string=" & ", only_return_results=True)
    assert list(joined) == [e.replace("+", " & ") for e in expected]


def test_sets_of_three_and_more(assigner):
    counts = np.ones((300, 4))
    counts[:120] = [50, 50, 50, 1]
    counts[120:180] = [50, 50, 50, 50]
    counts[180:240] = [1, 50, 1, 50]
    var = pd.DataFrame(index=list("abcd"))
    labels = assigner.assign_mixture_model(counts, var=var, max_assignments_per_cell=3)
    assert list(labels) == ["a+b+c"] * 120 + ["multiple"] * 60 + ["b+d"] * 60 + ["negative"] * 60


def test_only_return_results_writes_nothing(assigner, adata):
    labels = assigner.assign_mixture_model(adata, only_return_results=True)
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (400,)
    assert state(adata) == set()
    assigner.assign_mixture_model(adata)
    assert list(adata.obs["assigned_guide"]) == list(labels)


def test_same_labels_from_every_storage(assigner, stored_screen):
    values = simulate(200)
    stored = stored_screen(values, pd.DataFrame(index=[f"cell{i}" for i in range(200)]))
    if stored.slot == "obsm":
        pytest.skip("guide counts are X or a layer")
    if stored.dense.max() == 1:
        pytest.skip("bool: nothing to fit")
    layer = None if stored.slot == "X" else stored.key
    names = pd.DataFrame(index=list(stored.adata.var_names))
    expected = assigner.assign_mixture_model(stored.dense, var=names)
    assert len(set(expected)) > 6
    assert list(assigner.assign_mixture_model(stored.adata, layer=layer, only_return_results=True)) == list(expected)


def test_explicit_zeros_are_zeros(assigner):
    values = simulate().astype(np.float32)
    plain = sp.csr_matrix(values)
    full = sp.csr_matrix(np.ones_like(values))
    full.data = values.ravel().copy()
    assert full.nnz > plain.nnz
    assert list(assigner.assign_mixture_model(full)) == list(assigner.assign_mixture_model(plain))


def test_neither_slabs_nor_threads_show(assigner, adata, monkeypatch):
    once = assigner.assign_mixture_model(adata, only_return_results=True)
    monkeypatch.setattr(_counts, "SLAB_BYTES", 800)
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            assert list(assigner.assign_mixture_model(adata, only_return_results=True)) == list(once)
    finally:
        torch.set_num_threads(threads)


def test_progress_is_shown_where_asked(assigner, adata, capfd):
    assigner.assign_mixture_model(adata, show_progress=True)
    assert "6.00/6.00" in capfd.readouterr().err


def test_guides_without_a_fit_are_named_once(assigner):
    counts = np.zeros((300, 4))
    counts[:, 0] = simulate(300)[:, 0]
    counts[5, 1] = 30
    counts[:50, 2] = 1
    adata = ad.AnnData(counts)
    adata.var_names = ["fine", "rare", "low", "empty"]
    with pytest.warns(UserWarning, match=r"3 guide\(s\) not fitted.*rare, low, empty") as caught:
        assigner.assign_mixture_model(adata)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert adata.var.loc[["rare", "low", "empty"], COLUMNS].isna().all(axis=None)
    assert set(adata.obs["assigned_guide"]) == {"fine", "negative"}


def test_nothing_to_fit(assigner):
    adata = ad.AnnData(np.eye(4))
    with pytest.warns(UserWarning, match="4 guide"):
        assigner.assign_mixture_model(adata)
    assert set(adata.obs["assigned_guide"]) == {"negative"}
    assert adata.var[COLUMNS].isna().all(axis=None)


def test_what_did_not_converge_is_named(assigner, adata):
    with pytest.warns(UserWarning, match=r"6 guide\(s\) did not converge.*g0"):
        assigner.assign_mixture_model(adata, max_iter=1)


def test_repeated_guide_names(assigner):
    counts = np.ones((200, 2))
    counts[:100] = 60
    labels = assigner.assign_mixture_model(counts, var=pd.DataFrame(index=["g", "g"]))
    assert list(labels) == ["g+g"] * 100 + ["negative"] * 100
    adata = ad.AnnData(simulate()[:, :2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own, of names that repeat
        adata.var_names = ["g", "g"]
    assigner.assign_mixture_model(adata)
    assert adata.var["threshold"].notna().all()


def test_pertpys_arguments_run(assigner, adata):
    """Its seeds and steps steer a search that is not needed here."""
    plain = assigner.assign_mixture_model(adata, only_return_results=True)
    theirs = assigner.assign_mixture_model(
        adata,
        model="poisson_gauss_mixture",
        n_iter=10,
        learning_rate=0.1,
        n_init_seeds=1,
        seed=7,
        show_progress=False,
        only_return_results=True,
    )
    assert list(theirs) == list(plain)


BAD_CALLS = {
    "max_iter 0": ({"max_iter": 0}, ValueError, "max_iter=0 must be at least 1"),
    "max_iter 1.5": ({"max_iter": 1.5}, TypeError, "whole number"),
    "tol 0": ({"tol": 0}, ValueError, "tol=0 must be above 0"),
    "tol NaN": ({"tol": np.nan}, ValueError, "tol=nan"),
    "posterior 0": ({"posterior_threshold": 0.0}, ValueError, "above 0 and below 1"),
    "posterior 1": ({"posterior_threshold": 1.0}, ValueError, "above 0 and below 1"),
    "posterior text": ({"posterior_threshold": "0.5"}, TypeError, "pass a number"),
    "no assignments": ({"max_assignments_per_cell": 0}, ValueError, "at least 1"),
    "model": ({"model": "gauss"}, ValueError, "poisson_gauss_mixture"),
    "layer": ({"layer": "x"}, KeyError, "layers key 'x' not found"),
    "label of none": ({"no_grna_assigned_key": "g3"}, ValueError, "'g3' is also the name of a guide"),
    "label of many": ({"multiple_grna_assigned_key": "g3"}, ValueError, "'g3' is also the name of a guide"),
    "empty key": ({"assigned_guides_key": ""}, ValueError, "assigned_guides_key is empty"),
    "joint": ({"multiple_grna_assignment_string": 3}, TypeError, "pass a string"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_say_what_is_wrong_and_change_nothing(assigner, adata, case):
    arguments, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        assigner.assign_mixture_model(adata, **arguments)
    assert state(adata) == set()


@pytest.mark.parametrize("value", [-1.0, np.nan, 2.5, np.inf])
def test_what_is_not_a_count_is_refused(assigner, adata, value):
    adata.X.data[7] = value
    with pytest.raises(ValueError, match="is not a count"):
        assigner.assign_mixture_model(adata)
    assert state(adata) == set()


# What follows is measured on a real screen, with crispat's own fits of the same model beside it.


@pytest.fixture(scope="module")
def fitted(schraivogel_file):
    adata = schraivogel_file.copy()
    GuideAssignment().assign_mixture_model(adata)
    return adata


@pytest.fixture(scope="module")
def crispat(shared_data, schraivogel_file):
    folder = shared_data / "schraivogel" / "crispat"
    thresholds = pd.read_csv(folder / "poisson_gauss_thresholds.csv", index_col="gRNA")["threshold"]
    estimates = pd.read_csv(folder / "poisson_gauss_estimates.csv", index_col="gRNA")
    return estimates.assign(threshold=thresholds).loc[schraivogel_file.var_names]


def negative_log_posterior(adata, parameters):
    """Of each guide, summed over its cells; `parameters` as in `adata.var`."""
    p = GuideParameters(*(torch.tensor(parameters[c].to_numpy()) for c in parameters))
    counts = sp.csc_matrix(adata.X)
    out = []
    for i in range(adata.n_vars):
        one = GuideParameters(*(v[i : i + 1] for v in p))
        x = torch.from_numpy(counts.data[counts.indptr[i] : counts.indptr[i + 1]].astype(np.float64))
        y = torch.log2(x)
        background = torch.log1p(-one.weight) + y * one.rate.log() - one.rate - torch.lgamma(y + 1)
        likelihood = (background + torch.nn.functional.softplus(log_odds(one, x[None])[0])).sum()
        log_std, log_rate = one.std.log(), one.rate.log()
        prior = -0.1 * torch.log1p(-one.weight) - 0.9 * one.weight.log() - (one.mean - 3) ** 2 / 8
        prior = prior - log_std - (log_std - 2) ** 2 / 2 - log_rate - log_rate**2 / 2
        out.append(-(likelihood + prior).item())
    return np.array(out)


@pytest.fixture(scope="module")
def estimates(crispat):
    """Those of crispat as it ships them, and of pertpy 1.4.0, in the order of the guides."""
    pertpy = pd.read_csv(Path(__file__).with_name("schraivogel_pertpy_1.4.0.csv"), index_col="guide")
    names = ["lambda", "mu", "scale", "weight_Normal"]
    return [crispat[names].set_axis(ESTIMATES, axis=1), pertpy.loc[crispat.index, ESTIMATES]]


def test_schraivogel_ours_is_the_optimum(fitted, estimates):
    """Of each of the 86 guides: no estimate of a peer, and no start, theirs or random, ends lower."""
    ours = negative_log_posterior(fitted, fitted.var[ESTIMATES])
    np.testing.assert_allclose(ours, fitted.var["final_loss"], rtol=1e-10)
    for theirs in estimates:
        assert (ours <= negative_log_posterior(fitted, theirs)).all()
    found = histograms(open_counts(fitted), torch.device("cpu"))
    model = PoissonGauss(*found.padded(torch.arange(86)))
    guide = torch.arange(86).repeat_interleave(22)
    low, high = model.bounds(guide)
    low, high = low.clamp(min=-5), high.clamp(max=torch.tensor([1.5, 9, 3, 20]).double())
    rng = torch.Generator().manual_seed(0)
    start = low + (high - low) * torch.rand(len(guide), 4, generator=rng, dtype=torch.float64)
    for i, theirs in enumerate(estimates):
        start[i::22] = point(GuideParameters(*torch.from_numpy(theirs.to_numpy()).T))
    ended = minimize(lambda at: model.at(guide[at]), start, *model.bounds(guide), max_iter=200, tol=1e-4)
    assert ended.converged.float().mean() > 0.999
    gap = ended.loss.reshape(86, 22).amin(1).numpy() - ours
    assert (np.abs(gap) < 1e-6).all(), "none lower, and of each guide one that finds it too"


def test_schraivogel_thresholds_and_decisions(fitted, crispat):
    apart = (fitted.var["threshold"] - crispat["threshold"]).abs()
    assert (apart <= 1).mean() >= 0.9
    assert apart.max() <= 1, "a guide differs by more: look at both posteriors there"
    ours = fitted.X.toarray() >= fitted.var["threshold"].to_numpy()
    theirs = fitted.layers["crispat_poisson_gauss"].toarray() > 0
    assert (ours == theirs).mean() >= 0.998
    labels = fitted.obs["assigned_guide"].astype(str)
    assert (labels == "negative").sum() == (~ours.any(1)).sum()
