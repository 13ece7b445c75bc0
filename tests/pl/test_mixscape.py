from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from pertorch import Mixscape, perturbation_markers, pl
from pertorch.ds import simulate_screen
from testing.pertorch import unchanged


def test_barplot_shows_the_share_of_each_guide(called):
    with unchanged(called):
        figure = pl.barplot(called, "guide", return_fig=True)
    cells = called.obs[called.obs["gene_target"] != "NT"]
    share = (cells["mixscape_class_global"] == "KO").groupby(cells["guide"].astype(str)).mean() * 100
    drawn = [bar.get_height() for ax in figure.axes for bar in ax.containers[0]]
    ranked = (cells["mixscape_class_global"] == "KO").groupby(cells["gene_target"].astype(str)).mean()
    order = ranked.sort_values(ascending=False, kind="stable").index
    assert drawn == pytest.approx([value for t in order for value in share[share.index.str.startswith(f"{t}_")]])
    assert {
        round(bar.get_height() + other.get_height()) for bar, other in zip(*figure.axes[0].containers, strict=True)
    } == {100}


def test_barplot_of_another_perturbation_type_and_of_names_with_blanks():
    import anndata as ad

    obs = pd.DataFrame(
        {
            "mixscape_class": ["A b KD", "A b NP", "NT", None],
            "mixscape_class_global": ["KD", "NP", "NT", None],
            "guide": ["x1", "x1", "c", "x1"],
        },
        index=list("abcd"),
    )
    ax = pl.barplot(ad.AnnData(np.zeros((4, 1)), obs), "guide")
    assert [bar.get_height() for bar in ax.containers[0]] == [50]


def test_perturbscore_knows_the_control_wherever_it_sorts():
    """Categories of the projections name all targets, and the control may come after some."""
    genes, _ = simulate_screen(400, 120, 3, effects=[2, 2, 2], control="zero", random_state=1)
    genes.X = np.log1p(genes.X.toarray()).astype(np.float32)
    genes.obsm["X_pca"] = np.linalg.svd(genes.X - genes.X.mean(0), full_matrices=False)[0][:, :8]
    Mixscape().perturbation_signature(genes, "gene_target", "zero", n_dims=8)
    Mixscape().mixscape(genes, "gene_target", "zero")
    ax = pl.perturbscore(genes, "gene_target", "target3")
    first = ax.get_legend_handles_labels()[1][0]
    assert first == f"zero ({(genes.obs['gene_target'] == 'zero').sum()} cells)"


def test_perturbscore_is_the_projection(called):
    target = next(iter(called.uns["mixscape"]))
    tables = called.uns["mixscape"][target]
    with unchanged(called):
        ax = pl.perturbscore(called, "gene_target", target)
    both = pd.concat(tables.values())
    dots = np.concatenate([shown.get_offsets()[:, 0] for shown in ax.collections if len(shown.get_offsets()) > 1])
    np.testing.assert_allclose(np.sort(dots), np.sort(both["pvec"]))
    n_perturbed = (called.obs["mixscape_class"] == f"{target} KO").sum()
    assert f"{target} KO ({n_perturbed} cells)" in [text.get_text() for text in ax.get_legend().get_texts()]
    for line in ax.lines[:3]:  # densities: nothing is lost, and the mean is that of the cells
        x, height = line.get_data()
        assert height.sum() * (x[1] - x[0]) == pytest.approx(1, abs=0.02)
    means = [both["pvec"][both["gene_target"] == name].mean() for name in ("NT", target)]
    axes = pl.perturbscore(called, "gene_target", target, split_by="batch", before_mixscape=True)
    assert [ax.get_title(loc="left") for ax in axes] == [f"batch: {name}" for name in tables]
    assert means[1] - means[0] == pytest.approx(1, abs=0.1)  # each split's are 1 apart: what the axis says


def test_ridge_is_ordered_by_mean_and_marks_medians(called):
    with unchanged(called):
        ax = pl.mixscale_ridge(called, "gene_target", "NT")
    groups = called.obs.groupby(called.obs["gene_target"].astype(str))["mixscale_score"]
    order = groups.mean().drop("NT").sort_values(ascending=False, kind="stable").index
    assert sorted(label.get_text() for label in ax.get_yticklabels()) == sorted(order)
    assert [label.get_text() for label in ax.get_yticklabels()][:5] == list(order)[:5]
    ticks = [shown.get_segments()[0][0][0] for shown in ax.collections if hasattr(shown, "get_segments")]
    assert ticks == pytest.approx(groups.median()[[label.get_text() for label in ax.get_yticklabels()]].to_list())


def test_violin_draws_the_cells_and_medians_of_each_class(called):
    target = next(iter(called.uns["mixscape"]))
    with unchanged(called):
        ax = pl.violin(called, ["NT", target], keys="mixscale_score", size=2)
    classes = [label.get_text() for label in ax.get_xticklabels()]
    assert classes == ["NT", f"{target} KO", f"{target} NP"]
    by_class = called.obs.groupby(called.obs["mixscape_class"].astype(str))["mixscale_score"]
    medians = [shown.get_segments()[0][0][1] for shown in ax.collections if hasattr(shown, "get_segments")]
    assert medians == pytest.approx(by_class.median()[classes].to_list())
    dots = [shown.get_offsets() for shown in ax.collections if len(shown.get_offsets()) > 1]
    for name, shown, place in zip(classes, dots, range(3), strict=True):
        assert np.abs(shown[:, 0] - place).max() < 0.4
        np.testing.assert_allclose(np.sort(shown[:, 1]), np.sort(by_class.get_group(name)))
    axes = pl.violin(called, [target], keys=["mixscale_score", "mixscape_class_p_ko"], hue="batch", stripplot=False)
    assert [len([s for s in ax.collections if hasattr(s, "get_segments")]) for ax in axes] == [4, 4]


def test_violin_shows_classes_that_are_numbers():
    adata = AnnData(np.zeros((9, 1)), obs={"dose": [1, 1, 1, 2, 2, 2, 10, 10, 10], "score": np.arange(9.0)})
    ax = pl.violin(adata, keys="score", groupby="dose", stripplot=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "10"]
    medians = [shown.get_segments()[0][0][1] for shown in ax.collections if hasattr(shown, "get_segments")]
    assert medians == [1, 4, 7]


def test_lda_shows_the_embedding(called):
    with unchanged(called):
        ax = pl.lda(called, "NT", components=(2, 1), highlight=["target01"])
    embedding = called.uns["mixscape_lda"][:, [1, 0]]
    kept = called.obs[(called.obs["mixscape_class_global"] == "KO") | (called.obs["gene_target"] == "NT")]
    groups = [s.get_offsets() for s in ax.collections]
    masks = [
        kept["gene_target"] == "NT",
        ~kept["gene_target"].isin(["NT", "target01"]),
        kept["gene_target"] == "target01",
    ]
    for shown, mask in zip(groups[:3], masks, strict=True):
        np.testing.assert_allclose(shown, embedding[mask.to_numpy()])
    targets = sorted(set(kept["gene_target"]) - {"NT"})
    means = [embedding[(kept["gene_target"] == name).to_numpy()].mean(0) for name in targets]
    np.testing.assert_allclose(groups[3], means)


def test_expression_is_scaled_and_cut_evenly(called):
    genes = list(called.var_names[5:9])
    ax = pl.expression_heatmap(called, genes, "mixscape_class_global", groups=["NT", "KO"], subsample_number=None)
    rows = np.concatenate([np.flatnonzero(called.obs["mixscape_class_global"] == name) for name in ("NT", "KO")])
    values = called.X[np.ix_(rows, np.arange(5, 9))].astype(np.float64)
    np.testing.assert_allclose(
        np.asarray(ax.images[0].get_array()), ((values - values.mean(0)) / values.std(0)).T, rtol=1e-9, atol=1e-9
    )
    sizes = called.obs["mixscape_class_global"].value_counts()
    ax = pl.expression_heatmap(called, genes, "mixscape_class_global", subsample_number=3 * sizes.min() + 3)
    assert ax.images[0].get_array().shape[1] == 3 * sizes.min() + 2  # the smallest stays whole, two share the rest
    again = pl.expression_heatmap(called, genes, "mixscape_class_global", subsample_number=3 * sizes.min() + 3)
    np.testing.assert_array_equal(ax.images[0].get_array(), again.images[0].get_array())


def test_methods_of_mixscape(called):
    target = next(iter(called.uns["mixscape"]))
    with unchanged(called):
        ax = Mixscape().plot_heatmap(called, "gene_target", target, "NT", n_genes=3)
    markers = perturbation_markers(called, "gene_target", "NT", targets=[target]).sort_values("score")["gene"].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == [*markers[::-1][:3], *markers[:3][::-1]]
    shown = called.obs["mixscape_class"].isin(["NT", f"{target} NP", f"{target} KO"])
    assert ax.images[0].get_array().shape == (6, shown.sum())
    figure = Mixscape().plot_barplot(called, guide_rna_column="guide", return_fig=True)
    assert sum(len(panel.containers[0]) for panel in figure.axes) == 36
    assert Mixscape().plot_perturbscore(called, "gene_target", target, color="orange").lines
    assert Mixscape().plot_violin(called, target_gene_idents=[target], keys="mixscape_class_p_ko").collections
    assert Mixscape().plot_lda(called, "NT").collections
    with pytest.raises(ValueError, match="n_genes=0"):
        Mixscape().plot_heatmap(called, "gene_target", target, n_genes=0)


ERRORS = [
    (lambda a: pl.barplot(a, "guides"), KeyError, "'guides' not found: did you mean 'guide'"),
    (lambda a: pl.barplot(a, "guide", targets=["target99"]), ValueError, "'target99', which has no cells"),
    (lambda a: pl.barplot(a, "guide", mixscape_class="guide"), ValueError, "not of one run"),
    (lambda a: pl.violin(a, ["target99"]), ValueError, "'target99' is neither"),
    (lambda a: pl.violin(a, keys="guide"), TypeError, "'guide' is category"),
    (lambda a: pl.violin(a, log=True), ValueError, "not above 0"),
    (lambda a: pl.violin(a, hue="guide"), ValueError, "no more than 8"),
    (lambda a: pl.perturbscore(a, "gene_target", "target99"), ValueError, "target_gene='target99'"),
    (lambda a: pl.perturbscore(a, "target", "target01"), KeyError, "no column 'target'"),
    (lambda a: pl.perturbscore(a, "gene_target", "target01", split_by="guide"), ValueError, "was not split by"),
    (lambda a: pl.mixscale_ridge(a, "gene_target", "nt"), ValueError, "'nt' has no cells"),
    (lambda a: pl.lda(a, "NTC"), ValueError, "control='NTC'"),
    (lambda a: pl.lda(a, "NT", lda_key="lda"), KeyError, "'lda'.*not found"),
    (lambda a: pl.lda(a[:50], "NT"), ValueError, "run Mixscape.lda again"),
    (lambda a: pl.lda(a, "NT", components=(0, 1)), ValueError, r"components=\(0, 1\)"),
    (lambda a: pl.expression_heatmap(a, ["x"], "batch"), KeyError, "gene 'x'"),
    (lambda a: pl.expression_heatmap(a, ["target01"], "batch", subsample_number=0), ValueError, "subsample_number=0"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors(called, call, kind, message):
    from matplotlib import pyplot as plt

    with unchanged(called), pytest.raises(kind, match=message):
        call(called)
    assert plt.get_fignums() == []
