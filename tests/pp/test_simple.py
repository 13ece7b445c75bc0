"""Assignment by threshold and to the largest guide."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment
from pertorch.pp import _counts

GUIDES = ["g1", "g2", "g3"]
COUNTS = np.array([[0, 0, 0], [5, 5, 1], [0, 2, 9], [4, 0, 0], [7, 8, 8]], dtype=np.float64)

ignore_view = pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")


VERBS = [
    lambda g, a, **k: g.assign_by_threshold(a, **{"assignment_threshold": 5, **k}),
    lambda g, a, **k: g.assign_to_max_guide(a, **{"assignment_threshold": 5, **k}),
]


def dense(x):
    return x.toarray() if sp.issparse(x) else np.asarray(x)


def screen(values=COUNTS, names=GUIDES):
    adata = ad.AnnData(values)
    adata.var_names = names
    return adata


def written(adata):
    """What there is beside X, which anndata ≥ 0.13 lists as the layer ``None``."""
    return {*adata.layers, *adata.obs, *adata.var, *adata.uns} - {None}


@pytest.fixture
def assigner():
    return GuideAssignment()


def brute_force_max(values, names, threshold):
    return [names[int(row.argmax())] if row.max() >= threshold else "Negative" for row in values]


def test_threshold_marks_every_guide_that_reaches_it(assigner):
    adata = screen()
    assert assigner.assign_by_threshold(adata, assignment_threshold=5) is None
    found = adata.layers["assigned_guides"]
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, COUNTS >= 5)


def test_max_guide_takes_the_first_of_those_that_tie(assigner):
    adata = screen()
    assert assigner.assign_to_max_guide(adata, assignment_threshold=5) is None
    labels = adata.obs["assigned_guide"]
    assert list(labels) == ["Negative", "g1", "g3", "Negative", "g2"]
    assert isinstance(labels.dtype, pd.CategoricalDtype)
    assert list(labels.cat.categories) == ["g1", "g2", "g3", "Negative"]


def test_keys_are_the_callers(assigner):
    adata = screen(np.zeros((5, 3)))
    adata.layers["counts"] = COUNTS
    assigner.assign_by_threshold(adata, assignment_threshold=5, layer="counts", output_layer="calls")
    assigner.assign_to_max_guide(
        adata, assignment_threshold=5, layer="counts", obs_key="call", no_grna_assigned_key="none"
    )
    np.testing.assert_array_equal(adata.layers["calls"], COUNTS >= 5)
    assert list(adata.obs["call"]) == ["none", "g1", "g3", "none", "g2"]


@ignore_view
def test_same_answer_from_every_storage(assigner, stored_screen):
    values = np.random.default_rng(0).poisson(1.5, (29, 6)).astype(np.float64)
    values[[3, 17]] = 0
    stored = stored_screen(values, pd.DataFrame(index=[f"cell{i}" for i in range(29)]))
    if stored.slot == "obsm":
        pytest.skip("guide counts are X or a layer")
    layer = None if stored.slot == "X" else stored.key
    adata, expected = stored.adata, stored.dense
    form = type(adata.X if layer is None else adata.layers[layer])
    if adata.isbacked and adata.is_view:
        for verb in VERBS:
            with pytest.raises(ValueError, match="view of a backed file"):
                verb(assigner, adata, layer=layer)
        return
    assigner.assign_by_threshold(adata, assignment_threshold=2, layer=layer)
    assigner.assign_to_max_guide(adata, assignment_threshold=2, layer=layer)

    found = adata.layers["assigned_guides"]
    np.testing.assert_array_equal(dense(found), expected >= 2)
    assert found.dtype == np.int8
    assert list(adata.obs["assigned_guide"]) == brute_force_max(expected, list(adata.var_names), 2)
    if "csr" in form.__name__.lower() or "csc" in form.__name__.lower():
        assert sp.issparse(found)
        assert found.nnz == (expected >= 2).sum(), "the result stores zeros"


def test_same_answer_from_every_bare_array(assigner, stored_array):
    values = np.random.default_rng(0).poisson(1.5, (29, 6)).astype(np.float64)
    array, expected = stored_array.make(values), stored_array.dense(values)
    found = assigner.assign_by_threshold(array, assignment_threshold=2)
    np.testing.assert_array_equal(dense(found), expected >= 2)
    assert sp.issparse(found) == (sp.issparse(array) or "cupy-cs" in stored_array.name)
    names = [f"guide{i}" for i in range(6)]
    labels = assigner.assign_to_max_guide(array, assignment_threshold=2, var=pd.DataFrame(index=names))
    assert list(labels) == brute_force_max(expected, names, 2)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array])
def test_sparse_keeps_its_kind(assigner, form):
    assert type(assigner.assign_by_threshold(form(COUNTS), assignment_threshold=5)) is form


def test_bare_arrays_need_no_names(assigner):
    assert list(assigner.assign_to_max_guide(COUNTS[1:3], assignment_threshold=5)) == ["0", "2"]
    assert list(assigner.assign_to_max_guide(COUNTS[1:2], assignment_threshold=5)) == ["0"], "one cell"
    frame = pd.DataFrame(COUNTS[1:3], columns=GUIDES)
    assert list(assigner.assign_to_max_guide(frame, assignment_threshold=5)) == ["g1", "g3"]


def test_repeated_guide_names_share_a_label(assigner):
    labels = assigner.assign_to_max_guide(COUNTS, assignment_threshold=5, var=pd.DataFrame(index=["a", "b", "a"]))
    assert list(labels) == ["Negative", "a", "a", "Negative", "b"]


def test_slabs_do_not_show(assigner, monkeypatch):
    values = sp.random_array((300, 40), density=0.3, rng=np.random.default_rng(1), data_sampler=None)
    values.data = np.ceil(values.data * 9)
    values[[7, 299]] = 0
    once = assigner.assign_to_max_guide(values, assignment_threshold=3)
    calls = assigner.assign_by_threshold(values, assignment_threshold=3).toarray()
    for size in (1, 50, 10_000):  # smaller than a row, a few rows, all at once
        monkeypatch.setattr(_counts, "SLAB_BYTES", 8 * size)
        np.testing.assert_array_equal(assigner.assign_to_max_guide(values, assignment_threshold=3), once)
        np.testing.assert_array_equal(assigner.assign_by_threshold(values, assignment_threshold=3).toarray(), calls)


BAD_COUNTS = {
    "negative": (-1.0, "holds -1.0 at cell 2, guide 1"),
    "NaN": (np.nan, "holds nan at cell 2, guide 1"),
    "infinite": (np.inf, "holds inf at cell 2, guide 1"),
    "fractional": (1.5, "holds 1.5 at cell 2, guide 1"),
    "past counting": (2.0**41, "at cell 2, guide 1"),
}
BAD_CALLS = {
    "threshold 0": ({"assignment_threshold": 0}, ValueError, "above 0"),
    "threshold negative": ({"assignment_threshold": -2}, ValueError, "assignment_threshold=-2"),
    "threshold NaN": ({"assignment_threshold": np.nan}, ValueError, "finite"),
    "threshold infinite": ({"assignment_threshold": np.inf}, ValueError, "finite"),
    "threshold text": ({"assignment_threshold": "5"}, TypeError, "pass a number"),
    "threshold bool": ({"assignment_threshold": True}, TypeError, "bool"),
    "layer": ({"layer": "count"}, KeyError, "did you mean 'counts'"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("case", BAD_COUNTS)
def test_what_is_not_a_count_is_refused(assigner, verb, form, case):
    value, message = BAD_COUNTS[case]
    values = COUNTS.copy()
    values[2, 1] = value
    adata = screen(form(values))
    with pytest.raises(ValueError, match=message):
        verb(assigner, adata)
    assert written(adata) == set()


def test_negative_integers_are_refused(assigner):
    with pytest.raises(ValueError, match="holds -3 at cell 0"):
        assigner.assign_by_threshold(sp.csr_matrix(np.array([[0, -3]])), assignment_threshold=1)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_say_what_is_wrong_and_change_nothing(assigner, verb, case):
    arguments, error, message = BAD_CALLS[case]
    adata = screen()
    adata.layers["counts"] = COUNTS
    with pytest.raises(error, match=message):
        verb(assigner, adata, **arguments)
    assert written(adata) == {"counts"}


def test_other_bad_calls(assigner):
    with pytest.raises(ValueError, match=r"no guides: its shape is \(5, 0\)"):
        assigner.assign_to_max_guide(ad.AnnData(np.zeros((5, 0))), assignment_threshold=5)
    with pytest.raises(ValueError, match="'g2' is also the name of a guide"):
        assigner.assign_to_max_guide(screen(), assignment_threshold=5, no_grna_assigned_key="g2")
    with pytest.raises(TypeError, match="output_layer=7"):
        assigner.assign_by_threshold(screen(), assignment_threshold=5, output_layer=7)
    with pytest.raises(ValueError, match="obs_key is empty"):
        assigner.assign_to_max_guide(screen(), assignment_threshold=5, obs_key="")
    with pytest.raises(ValueError, match="layer='x' needs an AnnData"):
        assigner.assign_by_threshold(COUNTS, assignment_threshold=5, layer="x")
    with pytest.raises(ValueError, match="names 2 guides, but data has 3"):
        assigner.assign_to_max_guide(COUNTS, assignment_threshold=5, var=pd.DataFrame(index=["a", "b"]))
    with pytest.raises(TypeError, match="data is a dict"):
        assigner.assign_by_threshold({}, assignment_threshold=5)


def test_no_cells(assigner):
    assert assigner.assign_by_threshold(np.zeros((0, 3)), assignment_threshold=1).shape == (0, 3)
    assert len(assigner.assign_to_max_guide(sp.csr_matrix((0, 3)), assignment_threshold=1)) == 0


@pytest.mark.parametrize("threshold", [3, 5])
def test_schraivogel_thresholds_are_crispats(assigner, schraivogel, threshold):
    assigner.assign_by_threshold(schraivogel, assignment_threshold=threshold)
    differ = schraivogel.layers["assigned_guides"] != schraivogel.layers[f"crispat_umi_t{threshold}"].astype(np.int8)
    assert differ.nnz == 0


def test_schraivogel_maximum_differs_from_crispats_where_guides_tie(assigner, schraivogel):
    """The layer was made with at least 3 UMI. crispat leaves a cell out whose largest guides tie; here the first of
    them is taken. Nothing else differs."""
    assigner.assign_to_max_guide(schraivogel, assignment_threshold=3)
    ours = schraivogel.obs["assigned_guide"].astype(str).to_numpy()
    theirs = np.full(schraivogel.n_obs, "Negative", dtype=object)
    cell, guide = schraivogel.layers["crispat_maximum"].nonzero()
    theirs[cell] = schraivogel.var_names[guide]
    counts = schraivogel.X.toarray()
    tied = (counts == counts.max(1, keepdims=True)).sum(1) > 1
    differ = ours != theirs
    assert differ.any()
    np.testing.assert_array_equal(differ, tied & (counts.max(1) >= 3))
    assert set(theirs[differ]) == {"Negative"}


def test_papalexi_published_labels(assigner, shared_data):
    guides = ad.read_h5ad(shared_data / "papalexi" / "papalexi_gdo_20729x110.h5ad")
    assigner.assign_to_max_guide(guides, assignment_threshold=5)
    assert (guides.obs["assigned_guide"].astype(str) == guides.obs["guide_max"].astype(str)).all()
