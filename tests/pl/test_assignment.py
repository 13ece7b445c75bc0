from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import norm

from pertorch import pl, pp
from testing.pertorch import unchanged


def test_histogram_holds_every_cell_and_the_fit(guides):
    name = guides.var_names[1]
    with unchanged(guides):
        ax = pl.guide_histogram(guides, name)
    held = guides[:, name].X.toarray().ravel()
    held = held[held > 0]
    areas = np.array([bar.get_height() * bar.get_width() for bar in ax.patches])
    assert areas.sum() == pytest.approx(1)
    edges = 2 ** np.array([ax.patches[0].get_x(), *(bar.get_x() + bar.get_width() for bar in ax.patches)])
    np.testing.assert_allclose(areas * len(held), np.histogram(held, edges)[0], atol=1e-9)
    assert areas[0] * len(held) == pytest.approx((held == 1).sum())
    fit, curves = guides.var.loc[name], {line.get_label(): line for line in ax.lines}
    y, signal = curves["signal"].get_data()
    np.testing.assert_allclose(signal, fit["mix_probs_1"] * norm.pdf(y, fit["gaussian_mean"], fit["gaussian_std"]))
    rate = fit["poisson_rate"]
    background = fit["mix_probs_0"] * np.exp(y * np.log(rate) - rate - gammaln(y + 1))
    np.testing.assert_allclose(curves["background"].get_ydata(), background)
    threshold = curves[f"threshold: {fit['threshold']:g}"].get_xdata()[0]
    assert np.log2(fit["threshold"] - 1) < threshold < np.log2(fit["threshold"])


def test_histogram_without_a_fit_and_of_many_guides():
    counts = ad.AnnData(np.random.default_rng(0).poisson(1, (50, 300)).astype(np.float32))
    figure = pl.guide_histogram(counts, list(counts.var_names), return_fig=True)
    assert len([ax for ax in figure.axes if ax.get_visible()]) == 300
    assert not figure.axes[0].lines


def test_guides_per_cell_counts_cells(guides):
    ax = pl.guides_per_cell(guides)
    per_cell = np.asarray((guides.layers["assigned_guides"] != 0).sum(1)).ravel()
    assert [bar.get_height() for bar in ax.patches] == np.bincount(per_cell, minlength=2).tolist()
    many = ad.AnnData(np.eye(40), layers={"assigned_guides": np.tri(40)})
    heights = [bar.get_height() for bar in pl.guides_per_cell(many).patches]
    assert len(heights) == 16
    assert sum(heights) == 40


def test_agreement_shows_the_values(guides):
    guides = guides.copy()
    guides.layers["ones"] = (guides.X > 0).astype(np.int8)
    comparison = pp.compare_assignments(guides, ["assigned_guides", "ones"])
    for measure in ("jaccard", "agreement"):
        ax = pl.agreement(comparison, measure=measure)
        expected = getattr(comparison, measure).to_numpy()
        np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), expected)
        assert [text.get_text() for text in ax.texts] == [f"{value:.2f}" for value in expected.ravel()]


def test_heatmap_orders_cells_by_their_largest_guide(guides):
    guides = guides.copy()
    ax = pl.guide_heatmap(guides, key_to_save_order="place")
    order = np.argsort(guides.obs["place"].to_numpy())
    counts = guides.X.toarray()
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), np.log2(counts[order] + 1), rtol=1e-6)
    largest = np.where(counts.max(1) > 0, counts.argmax(1), counts.shape[1])[order]
    assert (np.diff(largest) >= 0).all()
    again = pp.GuideAssignment().plot_heatmap(guides, order_by="place").images[0].get_array()
    np.testing.assert_array_equal(again, ax.images[0].get_array())
    np.testing.assert_array_equal(pl.guide_heatmap(guides, order_by=order).images[0].get_array(), again)


def test_heatmap_of_many_cells_keeps_their_mean():
    counts = np.random.default_rng(0).poisson(1, (5_001, 3)).astype(np.float32)
    ax = pl.guide_heatmap(ad.AnnData(counts), order_by=np.arange(5_001))
    shown = 2 ** np.asarray(ax.images[0].get_array()) - 1
    assert shown.shape == (2_000, 3)
    np.testing.assert_allclose(shown[0], counts[:3].mean(0), rtol=1e-6)
    block = np.arange(5_001) * 2_000 // 5_001
    np.testing.assert_allclose(np.bincount(block) @ shown, counts.sum(0))


ERRORS = [
    (lambda a: pl.guide_histogram(a, "target1_g11"), KeyError, "did you mean"),
    (lambda a: pl.guide_histogram(a, []), ValueError, "guides is empty"),
    (lambda a: pl.guide_histogram(a, a.var_names[0], layer="x"), KeyError, "'x' not found"),
    (lambda a: pl.guides_per_cell(a, assigned="calls"), KeyError, "'calls' not found"),
    (lambda a: pl.agreement(a), TypeError, "is a AnnData"),
    (lambda a: pl.agreement(a, measure="f1"), ValueError, "measure='f1'"),
    (lambda a: pl.guide_heatmap(a, order_by="rank"), KeyError, "'rank' not found"),
    (lambda a: pl.guide_heatmap(a, order_by=np.zeros(600, int)), ValueError, "each once"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors(guides, call, kind, message):
    from matplotlib import pyplot as plt

    with unchanged(guides), pytest.raises(kind, match=message):
        call(guides)
    assert plt.get_fignums() == []
