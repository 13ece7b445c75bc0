"""Tables of contrasts: how they are made, checked and evaluated."""

import numpy as np
import pandas as pd
import pytest

from pertorch import Distance
from testing.pertorch import assert_close, unchanged


@pytest.fixture
def gaps(screen):
    """The screen without JAK2 in r1 and without NT in r2."""
    gene, replicate = screen.obs["gene"], screen.obs["replicate"]
    return screen[~((gene == "JAK2") & (replicate == "r1")) & ~((gene == "NT") & (replicate == "r2"))].copy()


def test_one_row_per_target(screen):
    with unchanged(screen):
        found = Distance.create_contrasts(screen, "gene", "NT")
    assert list(found.columns) == ["gene", "reference"]
    assert found.to_numpy().tolist() == [["IRF1", "NT"], ["JAK2", "NT"], ["STAT1", "NT"]]
    assert list(found.index) == [0, 1, 2]


def test_some_targets(screen):
    found = Distance.create_contrasts(screen, "gene", "NT", groups=["STAT1", "NT", "JAK2", "STAT1"])
    assert found["gene"].tolist() == ["JAK2", "STAT1"]


def test_several_references_are_no_targets(screen):
    found = Distance.create_contrasts(screen, "gene", ["NT", "IRF1"])
    assert found.to_numpy().tolist() == [["JAK2", "IRF1"], ["STAT1", "IRF1"], ["JAK2", "NT"], ["STAT1", "NT"]]
    same = Distance.create_contrasts(screen, "gene", np.array(["NT", "IRF1", "NT"]))
    pd.testing.assert_frame_equal(same, found)


def test_strata_in_which_both_have_cells(gaps):
    found = Distance.create_contrasts(gaps, "gene", "NT", split_by="replicate")
    assert list(found.columns) == ["gene", "reference", "replicate"]
    r1 = [["IRF1", "NT", "r1"], ["STAT1", "NT", "r1"]]
    r3 = [["IRF1", "NT", "r3"], ["JAK2", "NT", "r3"], ["STAT1", "NT", "r3"]]
    assert found.to_numpy().tolist() == r1 + r3


def test_only_observed_combinations_of_several_strata(screen):
    few = screen[(screen.obs["replicate"] != "r1") | (screen.obs["dose"] == 5)]
    found = Distance.create_contrasts(few, "gene", "NT", split_by=["dose", "replicate"])
    assert list(found.columns) == ["gene", "reference", "dose", "replicate"]
    combinations = found[["dose", "replicate"]].drop_duplicates().to_numpy().tolist()
    assert combinations == [[1, "r2"], [1, "r3"], [5, "r1"], [5, "r2"], [5, "r3"]]
    assert len(found) == 15


def test_cells_without_a_label_or_stratum_make_no_contrast(screen):
    screen.obs.loc[screen.obs["replicate"] == "r2", "replicate"] = np.nan
    found = Distance.create_contrasts(screen, "gene", "NT", split_by="replicate")
    assert sorted(found["replicate"].unique()) == ["r1", "r3"]
    assert found["gene"].notna().all()
    assert np.isfinite(Distance().contrast_distances(screen, found)["edistance"]).all()


def test_nothing_left(screen):
    found = Distance.create_contrasts(screen, "gene", "NT", groups=["NT"], split_by="dose")
    assert found.shape == (0, 3)
    assert list(Distance().contrast_distances(screen, found).columns) == ["gene", "reference", "dose", "edistance"]


@pytest.mark.parametrize("column", ["number", "flag", "dose"])
def test_labels_that_are_no_text(screen, column, cells_of):
    first, reference = screen.obs[column].unique()[:2].tolist()
    contrasts = Distance.create_contrasts(screen, column, reference, groups=[first], split_by="replicate")
    found = Distance().contrast_distances(screen, contrasts)
    assert len(found) == 3
    for row in found.itertuples():
        x, y = (cells_of(**{column: label, "replicate": row.replicate}) for label in (first, reference))
        assert_close(row.edistance, Distance()(x, y), rel=1e-11)


def test_a_table_made_by_hand(screen, cells_of):
    rows = [("STAT1", "NT", 1), ("NT", "NT", 5), ("JAK2", "STAT1", 5), ("STAT1", "NT", 1)]
    table = pd.DataFrame(rows, columns=["gene", "reference", "dose"], index=[7, 7, "x", None])
    before = table.copy()
    found = Distance().contrast_distances(screen, table)
    pd.testing.assert_frame_equal(table, before)
    assert list(found.index) == [7, 7, "x", None]
    expected = [
        0.0 if x == y else Distance()(cells_of(gene=x, dose=dose), cells_of(gene=y, dose=dose)) for x, y, dose in rows
    ]
    assert_close(found["edistance"], expected, rel=1e-11)


def test_a_result_can_be_fed_back(screen):
    contrasts = Distance.create_contrasts(screen, "gene", "NT", split_by="replicate")
    once = Distance("mse").contrast_distances(screen, Distance().contrast_distances(screen, contrasts))
    assert list(once.columns) == [*contrasts.columns, "edistance", "mse"]
    again = Distance().contrast_distances(screen, once)
    pd.testing.assert_frame_equal(again, once)


def test_the_target_is_x(screen, cells_of):
    table = pd.DataFrame({"gene": ["STAT1"], "reference": ["NT"]})
    found = Distance("r2_distance").contrast_distances(screen, table)["r2_distance"][0]
    assert_close(found, Distance("r2_distance")(cells_of(gene="STAT1"), cells_of(gene="NT")), rel=1e-12)


def test_validate_accepts_what_create_makes(screen):
    Distance.validate_contrasts(screen, Distance.create_contrasts(screen, "gene", ["NT", "JAK2"], split_by="dose"))
