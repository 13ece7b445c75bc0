"""Input that is wrong, or at the edge: an error that names it, or what comes out. One row a case."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import pertorch
from testing.pertorch import unchanged

from .screens import simulate

m = pertorch.Mixscape()


def screen(**changes):
    adata = simulate("strong", n_targets=2, n_genes=120)
    m.perturbation_signature(adata, "target", "NT", output="dense")
    return adata


def with_obs(column, values):
    def change(adata):
        adata.obs[column] = values(adata.obs[column]) if callable(values) else values

    return change


def drop(condition):
    def change(adata):
        adata._inplace_subset_obs(~condition(adata.obs).to_numpy())

    return change


def set_nan(layer):
    def change(adata):
        values = (adata.X if layer is None else adata.layers[layer]).copy()
        values = values.toarray() if sp.issparse(values) else values
        values[3, 7] = np.nan
        if layer is None:
            adata.X = values
        else:
            adata.layers[layer] = values

    return change


def no_controls_in_b(obs):
    return (obs["target"] == "NT") & (obs["replicate"] == "b")


def missing_replicate(values):
    return values.where(np.arange(len(values)) != 4)


def nothing(adata):
    pass


# case, change to the screen, call, error, what the message says
ERRORS = [
    ("E60", nothing, lambda a: m.perturbation_signature(a, "targt", "NT"), KeyError, "'targt' not found.*'target'"),
    ("E60", nothing, lambda a: m.mixscape(a, "targt", "NT"), KeyError, "'target'"),
    ("E60", nothing, lambda a: m.mixscale(a, "targt", "NT"), KeyError, "'target'"),
    ("E60", nothing, lambda a: m.lda(a, "targt", "NT"), (KeyError, ValueError), "not found"),
    ("E61", nothing, lambda a: m.perturbation_signature(a, "target", "NTC"), ValueError, "'NTC'.*did you mean 'NT'"),
    ("E61", nothing, lambda a: m.mixscape(a, "target", "NTC"), ValueError, "'NTC'.*did you mean 'NT'"),
    ("E61", nothing, lambda a: m.mixscale(a, "target", "NTC"), ValueError, "'NTC'.*did you mean 'NT'"),
    ("E63", drop(no_controls_in_b), lambda a: m.perturbation_signature(a, "target", "NT", split_by="replicate"),
     ValueError, "no cell of control 'NT' in replicate 'b'"),
    ("E63", drop(no_controls_in_b), lambda a: m.mixscape(a, "target", "NT", split_by="replicate"),
     ValueError, "no cell of control 'NT' in replicate 'b'"),
    ("E67", with_obs("replicate", missing_replicate), lambda a: m.mixscape(a, "target", "NT", split_by="replicate"),
     ValueError, "1 cell.s. have no label in obs column 'replicate'.*row 4"),
    ("E70", lambda a: a.layers.pop("X_pert"), lambda a: m.mixscape(a, "target", "NT"),
     KeyError, "No 'X_pert' found in .layers"),
    ("E70", nothing, lambda a: m.mixscape(a, "target", "NT", layer="X_prt"), KeyError, "'X_prt' not found.*'X_pert'"),
    ("E71", nothing, lambda a: m.mixscape(a, "target", "NT", de_layer="logs"), KeyError, "'logs' not found"),
    ("E71", nothing, lambda a: m.perturbation_signature(a, "target", "NT", use_rep="X_umap"),
     ValueError, "'X_umap'.*'X_pca'"),
    ("E71", nothing, lambda a: m.perturbation_signature(a, "target", "NT", n_pcs=30),
     ValueError, "n_pcs=30.*20 columns"),
    ("E82", nothing, lambda a: m.mixscape(a, "target", "NT", test_method="logreg"),
     ValueError, "'logreg' is not one of.*'wilcoxon'"),
    ("E83", set_nan(None), lambda a: m.mixscape(a, "target", "NT"), ValueError, "X holds NaN.*row 3"),
    ("E83", set_nan(None), lambda a: m.perturbation_signature(a, "target", "NT"), ValueError, "X holds NaN.*row 3"),
    ("E83", set_nan("X_pert"),
     lambda a: m.mixscape(a, "target", "NT", de_genes_by_target={"g1": a.var_names[:20], "g2": []}),
     ValueError, "X_pert.*NaN"),
    ("E84", nothing, lambda a: m.lda(a, "target", "NT"), ValueError, "run mixscape first"),
    ("E86", with_obs("mixscape_class_global", "NP"), lambda a: m.lda(a, "target", "NT"), ValueError, "no target has"),
    ("mode", nothing, lambda a: m.perturbation_signature(a, "target", "NT", ref_selection_mode="knn"),
     ValueError, "'knn'.*'nn'"),
    ("mode", nothing, lambda a: m.perturbation_signature(a, "target", "NT", ref_selection_mode="split_by"),
     ValueError, "needs split_by"),
    ("k", nothing, lambda a: m.perturbation_signature(a, "target", "NT", n_neighbors=0), ValueError, "n_neighbors=0"),
    ("knn", nothing, lambda a: m.perturbation_signature(a, "target", "NT", knn_algorithm="hnsw"),
     ValueError, "'hnsw' is not one of"),
    ("metric", nothing, lambda a: m.perturbation_signature(a, "target", "NT", metric="cosine"),
     ValueError, "metric='cosine'"),
    ("option", nothing, lambda a: m.perturbation_signature(a, "target", "NT", neighbours=3), TypeError, "'neighbours'"),
    ("option", nothing, lambda a: m.mixscape(a, "target", "NT", iters=3), TypeError, "'iters'"),
    ("option", nothing, lambda a: m.mixscape(a, "target", "NT", tol=0), ValueError, "tol=0"),
    ("range", nothing, lambda a: m.mixscape(a, "target", "NT", iter_num=-1), ValueError, "iter_num=-1"),
    ("fit", nothing, lambda a: m.mixscape(a, "target", "NT", fit_on="target"), ValueError, "fit_on='target' is not"),
    ("range", nothing, lambda a: m.mixscale(a, "target", "NT", max_de_genes=3),
     ValueError, "max_de_genes=3.*at least 5"),
    ("range", nothing, lambda a: m.mixscale(a, "target", "NT", clip=0), ValueError, "clip=0"),
    ("guides", nothing, lambda a: m.mixscale(a, "target", "NT", fine_mode=True), KeyError, "'guide_id' not found"),
    ("genes", nothing, lambda a: m.mixscape(a, "target", "NT", de_genes_by_target={"g1": ["gene1", "gen2"]}),
     ValueError, "'gen2'.*did you mean"),
    ("target", nothing, lambda a: pertorch.perturbation_markers(a, "target", "NT", targets=["g9"]), ValueError, "'g9'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "change", "call", "error", "message"), ERRORS, ids=[f"{e[0]}-{i}" for i, e in enumerate(ERRORS)]
)
@pytest.mark.filterwarnings("ignore:de_genes_by_target has no genes:UserWarning")
def test_errors_say_what_is_wrong_and_change_nothing(case, change, call, error, message):
    adata = screen()
    change(adata)
    with unchanged(adata), pytest.raises(error, match=message):
        call(adata)


def run(adata, pert_key="target", control="NT", **options):
    m.perturbation_signature(adata, pert_key, control, output="dense")
    m.mixscape(adata, pert_key, control, **options)
    return adata


@pytest.fixture(scope="module")
def plain():
    return run(screen())


def test_e64_a_split_of_controls_is_passed_over(plain):
    adata = screen()
    adata.obs["part"] = np.where((adata.obs["target"] == "NT") & (np.arange(adata.n_obs) % 3 == 0), "only", "rest")
    m.mixscape(adata, "target", "NT", split_by="part")
    assert adata.uns["mixscape_status"]["split"].unique().tolist() == ["rest"]
    assert (adata.obs["mixscape_class_global"] == "KO").sum() > 150


def test_e65_one_cell_is_not_the_end(plain):
    adata = screen()
    adata.obs["target"] = adata.obs["target"].astype(str)
    adata.obs.iloc[-1, adata.obs.columns.get_loc("target")] = "lonely"
    for call in (m.mixscape, m.mixscale):
        with pytest.warns(UserWarning, match="one each: lonely"):
            call(adata, "target", "NT")
    assert adata.obs["mixscape_class"].iloc[-1] == "lonely NP"
    assert adata.obs["mixscale_score"].iloc[-1] == 0
    status = adata.uns["mixscape_status"].set_index("target")["status"]
    assert status.to_dict() == {"lonely": "one cell", "g1": "perturbed", "g2": "perturbed"}
    with pytest.warns(UserWarning, match="lonely"):
        assert "lonely" not in set(pertorch.perturbation_markers(adata, "target", "NT")["target"])


def test_e66_cells_without_a_label_have_no_class(plain):
    adata = screen()
    adata.obs["target"] = adata.obs["target"].where(np.arange(adata.n_obs) % 50 != 0)
    run(adata)
    m.mixscale(adata, "target", "NT")
    lost = adata.obs["target"].isna()
    assert adata.obs.loc[lost, "mixscape_class"].isna().all()
    assert adata.obs.loc[lost, "mixscape_class_global"].isna().all()
    assert (adata.obs.loc[lost, ["mixscape_class_p_ko", "mixscale_score"]] == 0).all(axis=None)
    assert adata.obs.loc[~lost, "mixscape_class"].notna().all()


@pytest.mark.parametrize("kind", ["int", "categorical of int", "str", "unused", "bool"])
def test_e68_e69_any_label(plain, kind):
    adata = screen()
    labels = adata.obs["target"]
    number = labels.map({"NT": 7, "g1": 3, "g2": 11}).astype(int)
    control = "NT" if kind in ("str", "unused") else 7
    if kind == "bool":
        adata = adata[labels != "g2"].copy()
        number, control = adata.obs["target"] == "NT", True
    adata.obs["target"] = {
        "int": number,
        "categorical of int": number.astype("category"),
        "str": labels.astype(str),
        "unused": labels.cat.add_categories("never"),
        "bool": number,
    }[kind]
    run(adata, control=control)
    same = plain[adata.obs_names]
    np.testing.assert_array_equal(adata.obs["mixscape_class_global"] == "KO", same.obs["mixscape_class_global"] == "KO")
    if kind == "int":
        assert set(adata.obs["mixscape_class"]) == {"7", "3 KO", "3 NP", "11 KO", "11 NP"}


def test_e71b_no_markers_at_all():
    adata = screen()
    m.mixscape(adata, "target", "NT", pval_cutoff=0.0)
    assert set(adata.obs["mixscape_class"]) == {"NT", "g1 NP", "g2 NP"}
    assert adata.uns["mixscape"] == {}
    with pytest.raises(ValueError, match="no target has"):
        m.lda(adata, "target", "NT")


def test_e72_integers_are_computed_in_float32():
    adata = simulate("strong", n_targets=1, n_genes=60)
    adata.X = np.rint(adata.X.toarray()).astype(np.int32)
    m.perturbation_signature(adata, "target", "NT")
    assert adata.layers["X_pert"].dtype == np.float32
    assert np.abs(adata.layers["X_pert"] - np.rint(adata.layers["X_pert"])).max() > 0.1


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_e73_kinds_of_sparse(plain, kind):
    adata = screen()
    adata.X = kind(adata.X)
    m.perturbation_signature(adata, "target", "NT", output="sparse")
    assert type(adata.layers["X_pert"]) is (sp.csr_array if kind is sp.csr_array else sp.csr_matrix)
    m.mixscape(adata, "target", "NT")
    pd.testing.assert_series_equal(adata.obs["mixscape_class"], plain.obs["mixscape_class"])


def test_e74_names_with_blanks(plain):
    adata = screen()
    adata.obs["target"] = adata.obs["target"].cat.rename_categories({"NT": "non targeting", "g1": "gene KO"})
    run(adata, control="non targeting")
    m.lda(adata, "target", "non targeting")
    assert set(adata.obs["mixscape_class_global"]) == {"non targeting", "KO", "NP"}
    np.testing.assert_array_equal(
        adata.obs["mixscape_class_global"] == "KO", plain.obs["mixscape_class_global"] == "KO"
    )
    assert len(adata.uns["mixscape_lda"]) == (adata.obs["mixscape_class_global"] != "NP").sum()


def test_e75_type_of_perturbation(plain):
    adata = screen()
    m.mixscape(adata, "target", "NT", perturbation_type="KD")
    assert {"g1 KD", "g1 NP"} <= set(adata.obs["mixscape_class"])
    np.testing.assert_array_equal(adata.obs["mixscape_class_p_kd"], plain.obs["mixscape_class_p_ko"])


def test_e76_no_refinement():
    adata = screen()
    m.mixscape(adata, "target", "NT", iter_num=0)
    assert set(adata.obs["mixscape_class"]) == {"NT", "g1 KO", "g2 KO"}
    assert (adata.obs["mixscape_class_p_ko"] == 0).all()


def test_e77_too_few_perturbed_cells_are_none():
    adata = screen()
    genes = {"g1": adata.var_names.tolist(), "g2": adata.var_names.tolist()}
    m.mixscape(adata, "target", "NT", de_genes_by_target=genes, min_de_genes=119)
    status = adata.uns["mixscape_status"].set_index("target")
    few = status.index[status["status"] == "too few perturbed cells"]
    assert len(few)
    classes = adata.obs.loc[adata.obs["target"].isin(few), "mixscape_class"]
    assert set(classes) == {f"{name} NP" for name in few}
    assert adata.obs.loc[classes.index, "mixscape_class_p_ko"].max() > 0.5  # the last posterior is kept


@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")  # anndata's own word on writing to a view
def test_e78_a_view_is_as_good(plain):
    whole = screen()
    order = np.random.default_rng(0).permutation(whole.n_obs)
    view = whole[order]
    assert view.is_view
    m.mixscape(view, "target", "NT")
    pd.testing.assert_series_equal(view.obs["mixscape_class"], plain.obs["mixscape_class"].iloc[order])
    assert "mixscape_class" not in whole.obs


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
def test_e79_e80_names_that_repeat(plain):
    adata = screen()
    adata.obs_names = ["cell"] * adata.n_obs
    adata.var_names = ["gene"] * adata.n_vars
    m.mixscape(adata, "target", "NT")
    m.mixscale(adata, "target", "NT")
    np.testing.assert_array_equal(adata.obs["mixscape_class"], plain.obs["mixscape_class"])


def test_e81_e87_raw_and_highly_variable_play_no_part(plain):
    adata = screen()
    adata.raw = ad.AnnData(np.zeros((adata.n_obs, 2), np.float32), obs=adata.obs)
    adata.var["highly_variable"] = np.arange(adata.n_vars) % 2 == 0
    m.mixscape(adata, "target", "NT")
    m.lda(adata, "target", "NT")
    expected = m.lda(plain, "target", "NT", copy=True)
    np.testing.assert_array_equal(adata.uns["mixscape_lda"], expected.uns["mixscape_lda"])


def test_e83_a_signature_of_zeros_has_no_direction():
    adata = screen()
    adata.layers["X_pert"] = np.zeros(adata.shape, np.float32)
    m.mixscape(adata, "target", "NT")
    m.mixscale(adata, "target", "NT")
    assert set(adata.obs["mixscape_class_global"]) == {"NT", "NP"}
    assert (adata.obs[["mixscape_class_p_ko", "mixscale_score"]] == 0).all(axis=None)
    assert set(adata.uns["mixscape_status"]["status"]) == {"no direction"}


def test_e85_more_components_than_there_are(plain):
    found = m.lda(plain, "target", "NT", n_comps=5000, copy=True)
    assert found.uns["mixscape_lda"].shape[1] == 2


def test_e88_a_copy_leaves_the_original():
    adata = screen()
    with unchanged(adata):
        changed = m.perturbation_signature(adata, "target", "NT", copy=True)
        changed = m.mixscape(changed, "target", "NT", copy=True)
        changed = m.mixscale(changed, "target", "NT", copy=True)
        changed = m.lda(changed, "target", "NT", copy=True)
    assert {"mixscape_class", "mixscale_score"} <= set(changed.obs)
    assert "mixscape_lda" in changed.uns
    assert m.mixscape(adata, "target", "NT") is None


@pytest.mark.parametrize("form", ["csr", "dense"])
@pytest.mark.parametrize("materialize", [True, False])
def test_e28_backed(plain, tmp_path, form, materialize):
    adata = screen()
    del adata.layers["X_pert"]
    if form == "dense":
        adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    m.perturbation_signature(backed, "target", "NT", materialize=materialize)
    m.mixscape(backed, "target", "NT")
    assert backed.isbacked
    pd.testing.assert_series_equal(backed.obs["mixscape_class"], plain.obs["mixscape_class"])


def test_e90_what_is_not_scored_is_zero():
    adata = screen()
    with pytest.warns(UserWarning, match="no genes for 'g2'"):
        m.mixscale(adata, "target", "NT", de_genes_by_target={"g1": adata.var_names[:30].tolist()})
    score = adata.obs["mixscale_score"]
    assert (score[adata.obs["target"].isin(["g2", "NT"])] == 0).all()
    assert (score[adata.obs["target"] == "g1"] != 0).all()
