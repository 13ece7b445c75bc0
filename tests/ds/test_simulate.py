from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pertorch.ds import Screen, _counts, simulate_screen
from pertorch.ds._truth import KNOCK_DOWN


@pytest.fixture(scope="module")
def screen() -> Screen:
    """Many cells of few genes and targets, so that means are known well."""
    return simulate_screen(
        20_000, 60, 2, effects=[1.5, 0.0], n_programs=1, program_size=20, control_fraction=0.4, dispersion=0.3,
        counts_per_cell=3_000, random_state=3,
    )  # fmt: skip


def test_seed() -> None:
    first, again, other = (simulate_screen(2_500, 90, 3, random_state=seed) for seed in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        assert one.X.dtype == np.float32
        np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())
        assert one.obs.equals(two.obs)
    assert (first.genes.X != other.genes.X).nnz
    assert (first.guides.X != other.guides.X).nnz


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    many = simulate_screen(2_500, 90, 3)
    monkeypatch.setattr(_counts, "THREADS", 1)
    assert not (simulate_screen(2_500, 90, 3).genes.X != many.genes.X).nnz


def test_shares(screen: Screen) -> None:
    obs = screen.genes.obs
    control = obs["gene_target"] == "NT"
    assert control.mean() == pytest.approx(0.4, abs=0.02)
    assert not obs.loc[control, "responder"].any()
    assert obs.loc[~control, "responder"].mean() == pytest.approx(0.75, abs=0.02)
    planted = screen.genes.uns["planted"]
    for target in planted.index:
        assert planted.loc[target, "responder_fraction"] == obs.loc[obs["gene_target"] == target, "responder"].mean()
    assert obs["batch"].value_counts(normalize=True).to_numpy() == pytest.approx(0.5, abs=0.02)
    per_guide = obs["guide"].value_counts()
    assert len(per_guide) == screen.guides.n_vars == 12
    assert per_guide["NT_g1"] == pytest.approx(20_000 * 0.4 / 6, rel=0.1)


def test_responders_change_as_planted_and_escapers_not_at_all(screen: Screen) -> None:
    genes, obs = screen.genes, screen.genes.obs
    log2fc = genes.varm["planted_log2fc"]
    program = log2fc["target1"].to_numpy()[2:]
    assert np.count_nonzero(program) == 20
    assert np.sqrt(np.mean(program[program != 0] ** 2)) == pytest.approx(1.5)
    assert log2fc.loc["target1", "target1"] == KNOCK_DOWN
    assert not log2fc["target2"].any()

    share = genes.X.toarray() / np.asarray(genes.X.sum(1))

    def change(cells: Any) -> np.ndarray:
        """log2 fold change of shares against controls, batch by batch; shares add up to 1, so up to a constant."""
        in_batch = [obs["batch"] == batch for batch in obs["batch"].cat.categories]
        control = obs["gene_target"] == "NT"
        found = np.mean([np.log2(share[cells & b].mean(0) / share[control & b].mean(0)) for b in in_batch], axis=0)
        return found - np.median(found[(log2fc == 0).all(axis=1)])

    hit = obs["gene_target"] == "target1"
    well_seen = share.mean(0) > 2e-3
    np.testing.assert_allclose(change(hit & obs["responder"])[well_seen], log2fc["target1"][well_seen], atol=0.12)
    for cells in (hit & ~obs["responder"], obs["gene_target"] == "target2"):
        np.testing.assert_allclose(change(cells)[well_seen], 0, atol=0.12)


def test_gene_counts_are_negative_binomial() -> None:
    """Mean and variance of each gene, where depth is fixed and no batch or target shifts it."""
    mean, dispersion = np.array([0.2, 3.0, 40.0]), 0.4
    n = 60_000
    zeros = np.zeros(n, dtype=np.int64)
    counts = _counts.gene_counts(
        np.random.SeedSequence(1), mean[None], zeros, np.ones((1, 3)), zeros, np.full(n, mean.sum()), dispersion
    ).toarray()
    np.testing.assert_allclose(counts.mean(0), mean, rtol=0.03)
    np.testing.assert_allclose(counts.var(0), mean + dispersion * mean**2, rtol=0.05)


def test_no_dispersion_is_poisson() -> None:
    n = 60_000
    zeros = np.zeros(n, dtype=np.int64)
    counts = _counts.gene_counts(
        np.random.SeedSequence(1), np.array([[1.0, 9.0]]), zeros, np.ones((1, 2)), zeros, np.full(n, 10.0), 0.0
    ).toarray()
    np.testing.assert_allclose(counts.var(0), counts.mean(0), rtol=0.03)


def test_guide_counts(screen: Screen) -> None:
    counts, obs = screen.guides.X.toarray(), screen.guides.obs
    own = np.arange(len(obs)), screen.guides.var_names.get_indexer(obs["guide"])
    assert counts[own].mean() == pytest.approx(60 + 2 / 12, rel=0.03)
    assert counts[own].var() == pytest.approx(60 + 0.6 * 60**2, rel=0.08)
    carried = np.bincount(own[1], minlength=12) / len(obs)
    ambient = (counts.sum(0) - np.bincount(own[1], counts[own], minlength=12)) / len(obs)
    np.testing.assert_allclose(ambient, 2 * carried * (1 - carried), rtol=0.08)  # less what falls on cells with it
    assert (screen.guides.var["gene_target"].to_numpy()[own[1]] == obs["gene_target"].to_numpy()).all()


def test_depth() -> None:
    genes = simulate_screen(4_000, 300, 2, counts_per_cell=1_500).genes
    assert np.median(np.asarray(genes.X.sum(1))) == pytest.approx(1_500, rel=0.05)


def test_batches_shift_genes() -> None:
    genes = simulate_screen(20_000, 60, 1, effects=[0.0], program_size=5, n_batches=3, counts_per_cell=20_000).genes
    means = np.array([np.asarray(genes[genes.obs["batch"] == b].X.mean(0)).ravel() for b in ("batch1", "batch3")])
    assert 0.1 < np.log2(means[0] / means[1]).std() < 0.35


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n_cells": 0}, "n_cells=0 must be a whole number of at least 1"),
        ({"n_cells": 2.5}, "n_cells=2.5 must be a whole number"),
        ({"n_targets": True}, "n_targets=True must be a whole number"),
        ({"n_genes": 70}, "n_genes=70 must be a whole number of at least 80"),
        ({"n_programs": 0}, "n_programs=0"),
        ({"program_size": 0}, "program_size=0"),
        ({"guides_per_target": 0}, "guides_per_target=0"),
        ({"n_batches": 0}, "n_batches=0"),
        ({"responder_fraction": 1.2}, "responder_fraction=1.2 must be a number from 0 to 1"),
        ({"control_fraction": float("nan")}, "control_fraction=nan"),
        ({"dispersion": -0.1}, "dispersion=-0.1 must be a number of at least 0"),
        ({"guide_ambient": float("inf")}, "guide_ambient=inf"),
        ({"counts_per_cell": "many"}, "counts_per_cell='many'"),
        ({"effects": [1.0]}, "must be 30 finite numbers of at least 0, one per target"),
        ({"effects": [-1.0] * 30}, "must be 30 finite numbers of at least 0"),
        ({"control": "target07"}, "control='target07' is the name of a target"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        simulate_screen(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_cells": 1},
        {"control_fraction": 0.0},
        {"control_fraction": 1.0},
        {"responder_fraction": 0.0},
        {"n_batches": 1, "n_targets": 1, "guides_per_target": 1},
        {"dispersion": 0.0, "guide_dispersion": 0.0, "guide_ambient": 0.0},
        {"counts_per_cell": 0.0, "guide_counts_per_cell": 0.0, "guide_ambient": 0.0},
    ],
)
def test_ends_of_the_ranges(arguments: dict[str, Any]) -> None:
    genes, guides = simulate_screen(**{"n_cells": 50, "n_genes": 120, **arguments})
    assert genes.n_obs == guides.n_obs == len(genes.obs)
    assert (genes.X.data > 0).all()
    assert (guides.X.data > 0).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:mudata.*")  # mudata 0.4.1 beside pandas 3
def test_mudata() -> None:
    pytest.importorskip("mudata")
    screen = simulate_screen(50, 60, 3)
    both = screen.to_mudata()
    assert list(both.mod) == ["rna", "gdo"]
    assert both["rna"].shape == screen.genes.shape
    assert both["gdo"].shape == screen.guides.shape
    assert both.obs["responder"].tolist() == screen.genes.obs["responder"].tolist()
