"""Summaries of an assignment, and agreement between several."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pertorch import GuideAssignment
from pertorch.pp import assignment_summary, compare_assignments


@pytest.fixture(params=[np.asarray, sp.csr_matrix, sp.csc_array])
def adata(request):
    counts = np.array([[9, 0, 1], [9, 8, 0], [7, 0, 0], [0, 3, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32)
    out = ad.AnnData(request.param(counts))
    out.var_names = ["a", "b", "c"]
    GuideAssignment().assign_by_threshold(out, assignment_threshold=5)
    return out


def test_cells_and_guides_are_counted(adata):
    found = assignment_summary(adata, min_cells=2)
    assert found.overall.to_dict() == pytest.approx(
        {"cells": 6, "guides": 3, "pairs": 4, "unassigned": 0.5, "single": 2 / 6, "multiple": 1 / 6}
    )
    assert found.cells["cells"].to_dict() == {0: 3, 1: 2, 2: 1}
    assert found.cells["share"].sum() == pytest.approx(1)
    guides = found.guides
    assert guides["cells"].to_dict() == {"a": 3, "b": 1, "c": 0}
    assert guides["alone"].to_dict() == {"a": 2, "b": 0, "c": 0}
    assert guides.loc["a", "median_count"] == 9
    assert guides.loc["a", "median_background"] == 1
    assert guides.loc["b", "median_background"] == 3
    assert np.isnan(guides.loc["c", "median_count"])
    assert guides["few_cells"].to_dict() == {"a": False, "b": True, "c": True}
    assert guides["one_count"].to_dict() == {"a": True, "b": False, "c": False}


def test_without_a_mixture_its_flags_are_silent(adata):
    guides = assignment_summary(adata).guides
    assert guides["overlap"].isna().all()
    assert not guides[["no_separation", "ambient", "no_threshold"]].any(axis=None)


def test_flags_name_the_guides_to_look_at():
    rng = np.random.default_rng(0)
    n = 5000
    good = rng.poisson(0.05, n)
    good[:400] += rng.poisson(50 * rng.lognormal(0, 0.5, 400))
    muddled = rng.poisson(0.4, n)
    muddled[400:1400] += rng.poisson(2.5, 1000)
    empty = rng.poisson(1.5, n)
    crowded = rng.poisson(3, n)
    crowded[2000:2500] += rng.poisson(5, 500)
    rare = np.zeros(n, dtype=int)
    rare[7] = 9
    adata = ad.AnnData(np.stack([good, muddled, empty, crowded, rare], 1).astype(np.float64))
    adata.var_names = ["good", "muddled", "empty", "crowded", "rare"]
    with pytest.warns(UserWarning, match="rare"):
        GuideAssignment().assign_mixture_model(adata)
    GuideAssignment().assign(adata, method="threshold", assignment_threshold=5)
    calls = adata.var["threshold"].to_numpy() <= adata.X
    adata.layers["calls"] = calls.astype(np.int8)
    flags = ["few_cells", "one_count", "no_separation", "ambient", "no_threshold"]
    guides = assignment_summary(adata, assigned="calls").guides
    assert not guides.loc["good", flags].any(), "a clean guide is flagged"
    assert guides.loc["good", "overlap"] < 0.02
    assert guides.loc["muddled", "no_separation"]
    assert guides.loc["empty", ["no_threshold", "few_cells"]].all()
    assert guides.loc["crowded", "ambient"]
    assert guides.loc["rare", ["few_cells", "no_threshold"]].all()


def test_comparison_counts_pairs(adata):
    for threshold in (1, 3):
        GuideAssignment().assign_by_threshold(adata, assignment_threshold=threshold, output_layer=f"t{threshold}")
    found = compare_assignments(adata, ["assigned_guides", "t3", "t1"])
    assert found.jaccard.loc["assigned_guides", "t3"] == pytest.approx(4 / 5)
    assert found.jaccard.loc["t1", "t3"] == pytest.approx(5 / 7)
    assert found.agreement.loc["t1", "t3"] == pytest.approx(16 / 18)
    assert (np.diag(found.jaccard) == 1).all()
    pd.testing.assert_frame_equal(found.jaccard, found.jaccard.T)
    row = found.guides.loc[("assigned_guides", "t1", "a")]
    assert row[["both", "only_left", "only_right"]].tolist() == [3, 0, 1]
    assert row["jaccard"] == 3 / 4
    assert found.guides.loc[("assigned_guides", "t3", "c"), "jaccard"] == 1, "neither assigns it"
    assert len(found.guides) == 9


@pytest.mark.parametrize("layers", ["t1", ["t1"], ["t1", "t1"]])
def test_comparison_needs_two(adata, layers):
    with pytest.raises(ValueError, match="two or more different"):
        compare_assignments(adata, layers)


def test_unknown_layers_are_named(adata):
    with pytest.raises(KeyError, match="did you mean 'assigned_guides'"):
        compare_assignments(adata, ["assigned_guides", "assigned_guide"])
    with pytest.raises(KeyError, match="nowhere"):
        assignment_summary(adata, assigned="nowhere")
