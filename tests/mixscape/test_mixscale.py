from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pertorch

from . import reference
from .screens import simulate

GOLDEN = Path(__file__).parent / "golden"
mixscale = pertorch.Mixscale()


@pytest.fixture(scope="module")
def screen():
    adata = simulate("medium")
    mixscale.perturbation_signature(adata, "target", "NT", output="dense")
    return adata


def expected(adata, chosen, split_by=None, **options):
    """Scores of all cells, and of the controls target by target, from the genes of each target."""
    signature, label = adata.layers["X_pert"].astype(np.float64), adata.obs["target"].to_numpy()
    part = adata.obs[split_by].to_numpy() if split_by else np.zeros(len(label))
    out, of_controls = np.zeros(len(label)), pd.DataFrame(index=adata.obs_names[label == "NT"])
    for name in np.unique(part):
        controls = (label == "NT") & (part == name)
        for target, genes in chosen.items():
            cells = (label == target) & (part == name)
            out[cells], c = reference.scores(signature[cells][:, genes], signature[controls][:, genes], **options)
            of_controls.loc[adata.obs_names[controls], target] = c
    return out, of_controls


def top(adata, most=100, controls=None, guides=None):
    """Markers of each target by p, at most so many, over all splits."""
    values, label = adata.X.toarray().astype(np.float64), adata.obs["target"].to_numpy()
    y = values[label == "NT"]
    found = {}
    for target in ("g1", "g2", "g3", "g4"):
        union: dict[int, None] = {}
        group = adata.obs["guide"].to_numpy() if guides else label
        for name in pd.unique(group[label == target]):
            genes, p = reference.markers(values[(label == target) & (group == name)], y)
            union.update(dict.fromkeys(genes[np.argsort(p[genes], kind="stable")][:most].tolist()))
        if len(union) >= 5:
            found[target] = list(union)
    return found


@pytest.mark.parametrize("split_by", [None, "replicate"])
@pytest.mark.parametrize("options", [{}, {"clip": 2.0}, {"scale": False}])
def test_against_the_definition(screen, split_by, options):
    adata = mixscale.mixscale(screen, "target", "NT", split_by=split_by, score_controls=True, copy=True, **options)
    scores, of_controls = expected(screen, top(screen), split_by, **options)
    np.testing.assert_allclose(adata.obs["mixscale_score"], scores, rtol=1e-6, atol=1e-6)
    pd.testing.assert_frame_equal(adata.uns["mixscale_score_controls"], of_controls, rtol=1e-6, check_names=False)


def test_the_genes_of_the_smallest_p(screen):
    adata = mixscale.mixscale(screen, "target", "NT", max_de_genes=6, copy=True)
    chosen = top(screen, 6)
    np.testing.assert_allclose(adata.obs["mixscale_score"], expected(screen, chosen)[0], rtol=1e-6, atol=1e-6)
    for target, genes in chosen.items():
        assert adata.uns["mixscale_de_genes"][target].tolist() == screen.var_names[genes].tolist()


def test_fine_mode(screen):
    adata = mixscale.mixscale(screen, "target", "NT", fine_mode=True, fine_mode_labels="guide", copy=True)
    scores, _ = expected(screen, top(screen, guides=True))
    np.testing.assert_allclose(adata.obs["mixscale_score"], scores, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("column", "options"), [("score", {}), ("fine", {"fine_mode": True, "fine_mode_labels": "guide"})]
)
def test_pertpys_own_numbers(column, options):
    """pertpy 1.4.0 on its own signature of this screen, which clips at 10 and leaves unscored cells at 1."""
    golden = np.load(GOLDEN / "pertpy_mixscale.npz")
    adata = simulate("medium")
    adata.layers["X_pert"] = golden["signature"].astype(np.float32)
    mixscale.mixscale(adata, "target", "NT", split_by="replicate", clip=10.0, **options)
    np.testing.assert_allclose(adata.obs["mixscale_score"], golden[column], atol=2e-3)


def test_harmonized_controls_follow_the_target(screen, monkeypatch):
    """The test of markers sees controls spread over the splits as the target's cells are, the same for one seed."""
    from pertorch.tl import _mixscale_markers as module

    seen = []
    real = module.compare
    monkeypatch.setattr(
        module, "compare", lambda matrix, splits, *args: seen.extend(splits) or real(matrix, splits, *args)
    )
    adata = screen[
        ~((screen.obs["target"] == "g1") & (screen.obs["replicate"] == "b")) | (np.arange(1050) % 3 == 0)
    ].copy()
    options = {"split_by": "replicate", "harmonize": True, "copy": True}
    first, again, other = (
        mixscale.mixscale(adata, "target", "NT", **options, random_state=seed).obs["mixscale_score"]
        for seed in (0, 0, 1)
    )
    pd.testing.assert_series_equal(first, again)
    assert not first.equals(other)
    part = adata.obs["replicate"].to_numpy()
    share = np.mean(part[seen[0].cells(0)] == "a")
    assert share > 0.6
    assert np.mean(part[seen[0].controls] == "a") == pytest.approx(share, abs=0.01)
    assert len(seen[0].controls) > 0.5 * (adata.obs["target"] == "NT").sum()


def test_splits_with_few_controls_are_left_out_of_the_test(screen, monkeypatch):
    from pertorch.tl import _mixscale_markers as module

    seen = []
    real = module.compare
    monkeypatch.setattr(
        module, "compare", lambda matrix, splits, *args: seen.extend(splits) or real(matrix, splits, *args)
    )
    of_b = ((screen.obs["target"] == "NT") & (screen.obs["replicate"] == "b")).to_numpy()
    adata = screen[~of_b | (np.cumsum(of_b) <= 3)].copy()
    mixscale.mixscale(adata, "target", "NT", split_by="replicate", harmonize=True, harmonize_min_proportion=0.5)
    assert all((adata.obs["replicate"].to_numpy()[split.rows] == "a").all() for split in seen)


@pytest.mark.parametrize("split_by", [None, "replicate"])
@pytest.mark.parametrize("clip", [None, 2.0])
def test_projections_without_each_marker(screen, split_by, clip):
    """As pertpy's ``uns["mixscale"]``, by its definition in float64."""
    options = {"split_by": split_by, "clip": clip, "copy": True}
    adata = mixscale.mixscale(screen, "target", "NT", store_projections=True, **options)
    plain = mixscale.mixscale(screen, "target", "NT", **options)
    pd.testing.assert_frame_equal(adata.obs, plain.obs)
    assert "mixscale" not in plain.uns
    signature, label = screen.layers["X_pert"].astype(np.float64), screen.obs["target"].to_numpy()
    for target, genes in top(screen).items():
        for split, table in adata.uns["mixscale"][target].items():
            part = np.ones(len(label), dtype=bool) if split == "all" else (screen.obs["replicate"] == split).to_numpy()
            cells = part & ((label == target) | (label == "NT"))
            scaled = signature[cells][:, genes]
            scaled = (scaled - scaled.mean(0)) / scaled.std(0, ddof=1)
            scaled = scaled if clip is None else np.minimum(scaled, clip)
            v = scaled[label[cells] == target].mean(0) - scaled[label[cells] == "NT"].mean(0)
            assert table.index.tolist() == screen.obs_names[cells].tolist()
            assert table.columns.tolist() == ["pvec", "target", *screen.var_names[genes]]
            assert table["target"].tolist() == label[cells].tolist()
            np.testing.assert_allclose(
                table["pvec"] - table["pvec"].mean(), scaled @ v / (v @ v) - (scaled @ v / (v @ v)).mean(), atol=1e-6
            )
            without = ((scaled @ v)[:, None] - scaled * v) / (v @ v - v**2)
            np.testing.assert_allclose(table[screen.var_names[genes]], without, rtol=1e-5, atol=1e-6)
