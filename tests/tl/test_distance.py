"""The verbs of Distance: what they return, and that they are one computation."""

import numpy as np
import pandas as pd
import pytest
import torch

import pertorch
from pertorch import Distance
from testing.pertorch import assert_close, unchanged

from .conftest import METRICS

ORDER = ["JAK2", "NT", "IRF1", "STAT1"]  # the categories that occur, in their order


@pytest.fixture(params=METRICS)
def distance(request):
    return Distance(request.param)


def expected_table(distance, cells_of, rows, columns):
    return [[0.0 if x == y else distance(cells_of(gene=x), cells_of(gene=y)) for y in columns] for x in rows]


def test_pairwise(distance, screen, cells_of):
    with unchanged(screen):
        found = distance.pairwise(screen, "gene")
    assert list(found.index) == list(found.columns) == ORDER
    assert found.index.name == found.columns.name == "gene"
    assert found.name == f"pairwise {distance.metric}"
    assert (found.dtypes == np.float64).all()
    assert (np.diag(found) == 0).all()
    assert_close(found, expected_table(distance, cells_of, ORDER, ORDER), rel=1e-11)


def test_symmetry(distance, screen):
    found = distance.pairwise(screen, "gene").to_numpy()
    if distance.metric == "r2_distance":
        assert (found != found.T).sum() == 12  # both triangles are filled: the row is the truth
    else:
        np.testing.assert_array_equal(found, found.T)


def test_onesided(distance, screen, cells_of):
    with unchanged(screen):
        found = distance.onesided_distances(screen, "gene", "NT")
    assert isinstance(found, pd.Series)
    assert list(found.index) == ORDER
    assert (found.name, found.index.name, found.dtype) == ("NT", "gene", np.float64)
    assert found["NT"] == 0
    assert_close(found, np.ravel(expected_table(distance, cells_of, ORDER, ["NT"])), rel=1e-11)


def test_onesided_to_several(distance, screen, cells_of):
    found = distance.onesided_distances(screen, "gene", ["STAT1", "NT", "STAT1"], groups=["NT", "JAK2", "NT"])
    assert list(found.index) == ["NT", "JAK2"]
    assert list(found.columns) == ["STAT1", "NT"]
    assert (found.index.name, found.columns.name) == ("gene", "selected_group")
    assert_close(found, expected_table(distance, cells_of, ["NT", "JAK2"], ["STAT1", "NT"]), rel=1e-11)


def test_contrasts(distance, screen, cells_of):
    contrasts = distance.create_contrasts(screen, "gene", "NT", split_by=["replicate"])
    with unchanged(screen):
        found = distance.contrast_distances(screen, contrasts)
    assert list(found.columns) == ["gene", "reference", "replicate", distance.metric]
    expected = [
        distance(cells_of(gene=row.gene, replicate=row.replicate), cells_of(gene="NT", replicate=row.replicate))
        for row in contrasts.itertuples()
    ]
    assert len(expected) == 9
    assert_close(found[distance.metric], expected, rel=1e-11)


def test_groups_are_kept_in_the_order_asked_for(distance, screen):
    some = ["STAT1", "JAK2", "STAT1"]
    found = distance.pairwise(screen, "gene", groups=some)
    assert list(found.index) == list(found.columns) == ["STAT1", "JAK2"]
    whole = distance.pairwise(screen, "gene")
    assert_close(found, whole.loc[some[:2], some[:2]], rel=1e-11)


def test_the_reference_is_left_out_with_groups(screen):
    found = Distance().onesided_distances(screen, "gene", "NT", groups=["STAT1", "JAK2"])
    assert list(found.index) == ["STAT1", "JAK2"]
    found = Distance().onesided_distances(screen, "gene", "NT", groups=["NT", "JAK2"])
    assert list(found.index) == ["NT", "JAK2"]


def test_no_groups(distance, screen):
    assert distance.pairwise(screen, "gene", groups=[]).shape == (0, 0)
    assert distance.onesided_distances(screen, "gene", "NT", groups=[]).shape == (0,)
    assert distance.pairwise(screen, "gene", groups=["NT"]).to_numpy().tolist() == [[0]]


@pytest.mark.parametrize(
    ("column", "order"),
    [("text", None), ("number", None), ("flag", None), ("gene", ORDER)],
)
def test_labels_of_any_type(screen, column, order):
    order = list(screen.obs[column].unique()) if order is None else order
    found = Distance().pairwise(screen, column)
    assert list(found.index) == order
    assert found.index.name == column
    onesided = Distance().onesided_distances(screen, column, order[1])
    assert onesided.name == order[1]
    assert_close(onesided, found[order[1]], rel=1e-11)
    contrasts = Distance().contrast_distances(screen, Distance.create_contrasts(screen, column, order[1]))
    assert sorted(contrasts[column]) == sorted(set(order) - {order[1]})
    expected = [found.to_numpy()[order.index(name), 1] for name in contrasts[column]]
    assert_close(contrasts["edistance"], expected, rel=1e-11)


def test_labels_of_any_type_give_the_same_numbers(screen):
    order = ["STAT1", "NT", "IRF1"]
    number = {"NT": 10, "STAT1": 2, "JAK2": 1, "IRF1": 7}
    text = Distance().pairwise(screen, "text", groups=order)
    numbers = Distance().pairwise(screen, "number", groups=[number[name] for name in order])
    np.testing.assert_array_equal(text, numbers)


def test_cells_without_a_label_do_not_count(screen):
    screen.obsm["X_pca"][[3, 50]] = np.nan
    assert np.isfinite(Distance().pairwise(screen, "gene")).all(axis=None)


def test_cells_of_other_groups_do_not_count(screen):
    screen.obsm["X_pca"][screen.obs["text"] == "IRF1"] = np.inf
    found = Distance().pairwise(screen, "text", groups=["NT", "JAK2"])
    assert np.isfinite(found).all(axis=None)


def test_both_peers_keyword_arguments(screen):
    expected = Distance().pairwise(screen, "gene")
    pd.testing.assert_frame_equal(
        Distance().pairwise(screen, groupby="gene", show_progressbar=False, n_jobs=-1), expected
    )
    pd.testing.assert_frame_equal(Distance().pairwise(screen, "gene", multi_gpu=False), expected)
    found = Distance().onesided_distances(
        screen, groupby="gene", selected_group="NT", groups=ORDER, n_jobs=2, multi_gpu=None
    )
    assert_close(found, expected["NT"], rel=1e-12)


def test_progress_bar(screen, capsys):
    Distance().pairwise(screen, "gene", show_progressbar=False)
    assert capsys.readouterr().err == ""
    Distance().pairwise(screen, "gene", show_progressbar=True)
    assert "edistance: " in capsys.readouterr().err


def test_progress_bar_by_settings(screen, capsys, monkeypatch):
    monkeypatch.setattr(pertorch.settings, "progress", True)
    monkeypatch.setattr("pertorch.exec._progress.DELAY", 0)
    Distance("mse").pairwise(screen, "gene")
    assert "mse: 100%" in capsys.readouterr().err


def test_repr_names_metric_options_and_key():
    text = repr(Distance("edistance", estimator="v", layer_key="counts"))
    assert all(part in text for part in ("EDistance", "estimator='v'", "layer_key='counts'"))
    assert "obsm_key='X_pca'" in repr(Distance("mse"))


def test_two_runs_and_any_number_of_threads_give_the_same_bits(distance, screen):
    screen.obsm["X_pca"] = screen.obsm["X_pca"].astype(np.float32)
    before, tables = torch.get_num_threads(), []
    try:
        for n_threads in (2, 2, 1, 4):
            torch.set_num_threads(n_threads)
            tables.append(distance.pairwise(screen, "gene"))
    finally:
        torch.set_num_threads(before)
    for table in tables[1:]:
        np.testing.assert_array_equal(table, tables[0])


@pytest.mark.parametrize("keys", [{"layer_key": "X"}, {"layer_key": "counts"}, {"obsm_key": "X_pca"}], ids=str)
def test_keys(screen, keys):
    values = {**screen.layers, **screen.obsm, "X": screen.X}[next(iter(keys.values()))]
    found = Distance("mse", **keys).pairwise(screen, "text")
    rows = [values[(screen.obs["text"] == name).to_numpy()] for name in ("NT", "JAK2")]
    assert_close(found.loc["NT", "JAK2"], Distance("mse")(*rows), rel=1e-12)


def test_a_changed_embedding_is_read_again(screen):
    distance = Distance("edistance")
    before = distance.pairwise(screen, "gene", bootstrap=True, n_bootstrap=3)
    screen.obsm["X_pca"] = 100 * screen.obsm["X_pca"]
    for first, second in zip(before, distance.pairwise(screen, "gene", bootstrap=True, n_bootstrap=3), strict=True):
        assert (second.to_numpy() >= 10 * first.to_numpy()).all()


def test_one_cell_groups(screen):
    screen.obs["single"] = ["a", "b", *["c"] * 118]
    x, y = screen.obsm["X_pca"][:2]
    found = Distance("edistance").pairwise(screen, "single")
    assert_close(found.loc["a", "b"], 2 * np.linalg.norm(x - y), rel=1e-12)
    assert_close(found.loc["a", "c"], Distance("edistance")(x[None], screen.obsm["X_pca"][2:]), rel=1e-11)


def test_a_common_offset_in_float32_changes_nothing_but_the_rounding_of_the_input(screen):
    shifted = (screen.obsm["X_pca"] + 1000).astype(np.float32)
    screen.obsm["shifted"] = shifted
    screen.obsm["exact"] = shifted.astype(np.float64)
    tables = [Distance("edistance", obsm_key=key).pairwise(screen, "gene") for key in ("shifted", "exact")]
    assert_close(*tables, rel=1e-6, scale=1.0)


@pytest.mark.parametrize("both", [False, True])
def test_compare_distance(both):
    rng = np.random.default_rng(0)
    pert, pred, ctrl = (
        rng.normal(shift, scale, size=(30, 4)) for shift, scale in [(3, 1), (2.5, 1), (0, [1, 2, 3, 4])]
    )
    distance = Distance("euclidean")
    means = [values.mean(0) for values in (pert, pred, ctrl)]
    expected = np.linalg.norm(means[0] - means[1]) / np.linalg.norm(means[2] - means[1])
    assert distance.compare_distance(pert, pred, ctrl) == pytest.approx(expected, rel=1e-12)
    spread = np.ptp(np.concatenate([pert, ctrl]) if both else ctrl, axis=0)
    expected = np.linalg.norm((means[0] - means[1]) / spread) / np.linalg.norm((means[2] - means[1]) / spread)
    scaled = distance.compare_distance(pert, pred, ctrl, mode="scaled", fit_to_pert_and_ctrl=both)
    assert scaled == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="mode='other' is not one of: 'simple', 'scaled'"):
        distance.compare_distance(pert, pred, ctrl, mode="other")
