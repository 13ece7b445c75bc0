"""Power: draws against the very cells, levels and rates against tests of many simulated screens."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from statsmodels.stats.proportion import proportion_confint

import pertorch
from pertorch.data import Cells, Groups, open_matrix
from pertorch.ds import simulate_screen
from pertorch.metrics import _subsampled, get_metric
from pertorch.metrics._subsampled import Deals, Subsampled
from pertorch.stats import subsamples
from pertorch.tl import DistanceTest, Mixscape, distance_power, mixscape_power

TEST = DistanceTest(n_perms=199)


def screen(rng: np.random.Generator, n_controls: int, n: int, n_targets: int, shift: float) -> AnnData:
    """Normal cells; those of targets shifted in every dimension."""
    labels = np.repeat(["NT", *(f"t{i}" for i in range(n_targets))], [n_controls] + [n] * n_targets)
    x = rng.normal(size=(len(labels), 10)) + shift * (labels != "NT")[:, None]
    return AnnData(obs=pd.DataFrame({"gene": labels}, index=[str(i) for i in range(len(x))]), obsm={"X_pca": x})


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(
    ("name", "options"), [("edistance", {}), ("mean_pairwise", {}), ("mmd", {"kernel": "rbf", "gamma": 0.3})]
)
@pytest.mark.parametrize(("m", "n", "shared"), [(50, 8, True), (20, 8, False), (6, 9, False)])
def test_distances_are_those_of_the_cells_that_are_drawn(monkeypatch, name, options, m, n, shared, held):
    monkeypatch.setattr(_subsampled, "NUMBERS", {"cpu": 700})  # several blocks of everything
    monkeypatch.setattr(_subsampled, "KEPT", 2**20 if held else 0)
    rng, torch_rng = np.random.default_rng(0), torch.Generator().manual_seed(0)
    adata = screen(rng, 50, 30, 1, 0.7)
    cells = Cells(open_matrix(adata), Groups.from_obs(adata, "gene"))
    every, x = np.split(adata.obsm["X_pca"], [50])

    def dealt(size: int, times: int) -> torch.Tensor:
        return torch.stack([torch.randperm(size, generator=torch_rng) for _ in range(times)])

    controls = torch.arange(50)[None] if shared else dealt(50, 4)[:, :m]
    sequences = dealt(m, 12)[:, :n].unflatten(0, (4, 3))
    chosen = torch.randint(30, (4, n), generator=torch_rng)  # with repeats, as drawn with replacement
    n_kept = rng.hypergeometric(n, m, n, (4, 3))
    kept = rng.random((4, n, 3)).argsort(1).argsort(1) < n_kept[:, None]
    drawn = Subsampled(get_metric(name, **options), cells, 0, controls, sequences, torch.device("cpu"))
    observed, null = drawn(1, chosen, Deals(torch.from_numpy(kept), torch.from_numpy(n - n_kept)))
    distance = pertorch.Distance(name, **options)
    for r in range(4):
        a, c = x[chosen[r]], every[controls[r % len(controls)]]
        assert observed[r] == pytest.approx(distance(a, c), abs=1e-7)
        for k in range(3):
            head = sequences[r, k, : n - n_kept[r, k]].numpy()
            small, rest = np.concatenate([a[kept[r, :, k]], c[head]]), np.delete(c, head, 0)
            assert null[r, k] == pytest.approx(distance(small, np.concatenate([a[~kept[r, :, k]], rest])), abs=1e-7)


def test_subsamples_are_nested_and_as_likely_to_hold_each_cell():
    small, large = (subsamples(3, 5, 4_000, n, 12) for n in (3, 12))
    assert torch.equal(small, large[:, :3])
    assert (large.sort(1).values == torch.arange(12)).all()
    np.testing.assert_allclose(np.bincount(small.ravel()) / 12_000, 1 / 12, atol=0.008)
    again = subsamples(3, 5, 4_000, 20, 12, replace=True)
    np.testing.assert_allclose(np.bincount(again.ravel()) / 80_000, 1 / 12, atol=0.004)


def test_without_effect_the_level_is_that_of_the_test():
    """Over pilots: of one pilot alone the rate is what its cells happen to give."""
    rng = np.random.default_rng(1)
    rates = [
        distance_power(screen(rng, 300, 60, 12, 0.0), "gene", "NT", [10, 60], test=TEST, n_targets=1, n_controls=100)
        .groupby("n_cells")["power"]
        .mean()
        for _ in range(12)
    ]
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0) / 12**0.5
    assert (np.abs(mean - 0.05) < 3 * error).all()
    assert (error < 0.015).all()


@pytest.mark.parametrize(("n_controls", "shift"), [(150, 0.19), (40, 0.25)])
def test_power_is_the_rate_at_which_simulated_screens_are_significant(n_controls, shift):
    rng = np.random.default_rng(2)
    hits = [
        (TEST(screen(rng, n_controls, 30, 10, shift), "gene", "NT")["pvalue"].drop("NT") < 0.05).mean()
        for _ in range(50)
    ]
    pilots = [
        distance_power(
            screen(rng, 3_000, 1_500, 4, shift), "gene", "NT", 30, test=TEST, n_controls=n_controls, n_targets=1
        )["power"].mean()
        for _ in range(4)
    ]
    assert 0.3 < np.mean(hits) < 0.7
    assert abs(np.mean(hits) - np.mean(pilots)) < 3 * (np.var(hits) / 50 + np.var(pilots) / 4) ** 0.5


@pytest.fixture(scope="module")
def pilot() -> AnnData:
    return screen(np.random.default_rng(3), 200, 80, 5, 0.3)


@pytest.fixture(scope="module")
def table(pilot: AnnData) -> pd.DataFrame:
    return distance_power(pilot, "gene", "NT", [40, 10, 80], test=TEST)


def test_table(table):
    assert table.columns.tolist() == [
        "target", "pilot_cells", "n_cells", "n_controls", "n_detected", "n_replicates", "power", "lower", "upper",
    ]  # fmt: skip
    assert table["target"].tolist() == list(np.repeat(["t0", "t1", "t2", "t3", "t4"], 3))
    assert table["n_cells"].tolist() == [10, 40, 80] * 5
    assert set(table["n_controls"]) == {200}
    low, high = proportion_confint(table["n_detected"], 200, method="wilson")
    np.testing.assert_allclose(table[["lower", "upper"]], np.stack([low, high], 1), atol=1e-12)
    rises = table.groupby("target")["power"].apply(lambda power: power.is_monotonic_increasing)
    assert rises.all()
    assert (table.loc[table["n_cells"] == 10, "power"] < 0.5).all()
    assert (table.loc[table["n_cells"] == 80, "power"] > 0.9).all()


def test_a_row_depends_on_nothing_else_that_is_asked_for(pilot):
    alone = distance_power(pilot, "gene", "NT", 40, test=TEST, groups=["t3"], n_targets=7)
    every = distance_power(pilot, "gene", "NT", [10, 40], test=TEST, n_targets=7)
    row = every[(every["target"] == "t3") & (every["n_cells"] == 40)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, row)


def test_correction(pilot, table):
    def power(n_targets: int | None, **test: Any) -> float:
        test = {"n_perms": 199, **test}
        found = distance_power(pilot, "gene", "NT", 40, test=DistanceTest(**test), n_targets=n_targets)
        return float(found["power"].mean())

    together = float(table.loc[table["n_cells"] == 40, "power"].mean())
    assert power(None) == together
    assert power(1) > together > power(5)  # Holm's steps: the others are found too
    assert power(None, correction="fdr_bh") > together
    assert power(1, padj_threshold=0.2) > power(1)
    with pytest.warns(UserWarning, match="n_perms=199 cannot give a p-value that is significant among 500 targets"):
        assert power(500) == 0


def test_targets_that_are_too_small(pilot):
    small = pilot[np.r_[0:200, 200:280, 280:295]].copy()
    with pytest.warns(UserWarning, match=r"fewer than 40 cells of 't1' \(15\): their larger sizes are left out"):
        found = distance_power(small, "gene", "NT", [10, 40], test=TEST)
    assert found[["target", "n_cells"]].values.tolist() == [["t0", 10], ["t0", 40], ["t1", 10]]
    again = distance_power(small, "gene", "NT", [10, 200], test=TEST, replace=True)
    assert again["n_cells"].tolist() == [10, 200, 10, 200]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"n_cells": 200}, ValueError, "no target of the pilot has n_cells=200 cells, the largest has 80"),
        ({"n_cells": [10, 1]}, ValueError, "n_cells=1 must be at least 2"),
        ({"n_cells": []}, ValueError, "name at least one size"),
        ({"n_cells": 2.5}, TypeError, "n_cells=2.5 is a float"),
        ({"n_controls": 300}, ValueError, "n_controls=300, but the pilot has 200 cells of 'NT'"),
        ({"n_replicates": 0}, ValueError, "n_replicates=0"),
        ({"n_targets": 0}, ValueError, "n_targets=0"),
        ({"groups": ["t9"]}, ValueError, "'t9' has no cells"),
        ({"groups": ["NT"]}, ValueError, "one size and one target"),
        ({"contrast": "ctrl"}, ValueError, "'ctrl' has no cells"),
        ({"confidence_level": 2}, ValueError, "confidence_level=2"),
        ({"test": DistanceTest("mse")}, ValueError, "metric='mse' is not made of distances between cells"),
        ({"test": DistanceTest(obsm_key="X_umap")}, KeyError, "X_umap"),
    ],
)
def test_bad_arguments(pilot, arguments, error, says):
    with pytest.raises(error, match=says):
        distance_power(pilot, **{"groupby": "gene", "contrast": "NT", "n_cells": [10], **arguments})


@pytest.fixture(scope="module")
def expression() -> AnnData:
    """A strong, a weak and no effect, after the signature."""
    genes, _ = simulate_screen(900, 150, 3, effects=[2.0, 0.7, 0.0], control_fraction=0.35, n_programs=1, n_batches=1)
    counts = genes.X.toarray()
    genes.X = np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # principal components are made here
        Mixscape.perturbation_signature(genes, "gene_target", "NT")
    return genes


def test_mixscape_power_is_mixscape_on_the_cells_that_are_drawn(expression):
    found = mixscape_power(expression, "gene_target", "NT", 60, n_replicates=3, random_state=4)
    groups = Groups.from_obs(expression, "gene_target")
    detected, fractions = np.zeros((3, 3), dtype=bool), np.zeros((3, 3))
    for r in range(3):
        kept = [np.flatnonzero(groups.codes == groups.index("NT"))]
        for target in ("target1", "target2", "target3"):
            t = groups.index(target)
            drawn = subsamples(4, int(groups.keys[t]), 3, 60, int(groups.sizes[t]))[r].numpy()
            kept.append(np.flatnonzero(groups.codes == t)[drawn])
        part = expression[np.sort(np.concatenate(kept))].copy()
        Mixscape.mixscape(part, "gene_target", "NT")
        status = part.uns["mixscape_status"].set_index("target").loc[["target1", "target2", "target3"]]
        detected[r], fractions[r] = status["status"] == "perturbed", status["perturbed_fraction"].fillna(0)
    assert found["n_detected"].tolist() == detected.sum(0).tolist()
    np.testing.assert_allclose(found["perturbed_fraction"], fractions.mean(0), atol=1e-12)


def test_mixscape_power_rises_and_what_has_no_effect_is_not_found(expression, monkeypatch):
    found = mixscape_power(expression, "gene_target", "NT", [10, 100], n_replicates=20)
    power = found.pivot(index="target", columns="n_cells", values="power")
    assert power.loc["target1"].tolist() == [1, 1] or power.loc["target1", 10] < power.loc["target1", 100]
    assert power.loc["target1", 100] == 1
    assert power.loc["target2", 10] < power.loc["target2", 100]
    assert power.loc["target3"].max() < 0.2
    monkeypatch.setattr("pertorch.tl._power_mixscape.STATISTICS", 7 * expression.n_vars)  # seven targets at a time
    pd.testing.assert_frame_equal(found, mixscape_power(expression, "gene_target", "NT", [10, 100], n_replicates=20))


def test_mixscape_power_needs_a_signature(pilot):
    with pytest.raises(KeyError, match="run perturbation_signature first"):
        mixscape_power(AnnData(np.ones((480, 3)), obs=pilot.obs[:480]), "gene", "NT", 10)
