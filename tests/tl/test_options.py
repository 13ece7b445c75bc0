"""Options of a metric: by position as either peer has them, by name, for one call."""

import logging

import numpy as np
import pytest

from pertorch import Distance
from testing.pertorch import assert_close


def test_positions_of_either_peer(screen):
    """pertpy: agg_fct, layer_key, obsm_key, cell_wise_metric. rapids_singlecell: layer_key, obsm_key."""
    for same in (
        Distance("mse", np.median, "counts"),
        Distance("mse", np.median, layer_key="counts"),
        Distance("mse", "counts", agg_fct=np.median),
        Distance(metric="mse", layer_key="counts", agg_fct=np.median),
    ):
        assert (same.layer_key, same.obsm_key) == ("counts", None)
        assert same._metric.agg_fct is np.median
    for same in (
        Distance("edistance", np.mean, None, "X_pca", "cosine"),
        Distance("edistance", np.mean, obsm_key="X_pca", cell_wise_metric="cosine"),
        Distance("edistance", None, "X_pca", cell_wise_metric="cosine"),
    ):
        assert (same.layer_key, same.obsm_key) == (None, "X_pca")
        assert same._metric.cell_wise_metric == "cosine"


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        (("mse", "counts", None, "cosine"), {}, "takes metric, layer_key, obsm_key by position"),
        (("mse", np.mean, "counts"), {"layer_key": "X"}, "layer_key was given by position and by name"),
        (("mmd",), {"kernels": "rbf"}, "metric 'mmd' has no option 'kernels': it takes kernel, gamma, degree"),
    ],
)
def test_bad_arguments(args, named, message):
    with pytest.raises(TypeError, match=message):
        Distance(*args, **named)


def test_what_means_nothing_changes_nothing_and_says_so(screen, caplog):
    with caplog.at_level(logging.WARNING, "pertorch"):
        for metric in ("edistance", "t_test", "mmd"):
            Distance(metric, np.mean)
            Distance(metric, agg_fct=None, cell_wise_metric="euclidean")
        assert not caplog.records
        odd = Distance("edistance", np.median)
    assert "has no meaning for metric 'edistance' and changes nothing" in caplog.text
    assert_close(odd.pairwise(screen, "gene"), Distance("edistance").pairwise(screen, "gene"), rel=0)


def test_options_of_one_call(screen):
    once, usual = {"kernel": "rbf", "gamma": 0.05}, Distance("mmd", degree=3)
    always, plain = Distance("mmd", **once), usual.pairwise(screen, "gene")
    contrasts = Distance.create_contrasts(screen, "gene", "NT")
    x, y = screen.obsm["X_pca"][:50], screen.obsm["X_pca"][50:]
    for verb, args in [
        ("pairwise", (screen, "gene")),
        ("onesided_distances", (screen, "gene", "NT")),
        ("contrast_distances", (screen, contrasts)),
        ("__call__", (x, y)),
        ("bootstrap", (x, y)),
    ]:
        found, expected = getattr(usual, verb)(*args, **once), getattr(always, verb)(*args)
        numbers = (lambda t: t["mmd"]) if verb == "contrast_distances" else (lambda t: t)
        assert_close(numbers(found), numbers(expected), rel=0)
    assert_close(usual.pairwise(screen, "gene"), plain, rel=0)  # the call's options are gone
    cubic = usual(x, y, kernel="poly", gamma=0.1)  # the constructor's remain
    assert cubic == Distance("mmd", kernel="poly", gamma=0.1, degree=3)(x, y)
    assert cubic != Distance("mmd", kernel="poly", gamma=0.1)(x, y)
    with pytest.raises(TypeError, match="metric 'mmd' has no option 'colour'"):
        usual.pairwise(screen, "gene", colour="red")
