"""Numbers of pertpy 1.4.0 on the fixture `screen`, in float64: distance of a, b and c to ctrl."""

from __future__ import annotations

import numpy as np
import pytest

import pertorch
from testing.pertorch import assert_close

GOLDEN = {
    "classifier_cp": [0.7582957897328725, 0.5332859888329239, 0.7084182214342036],
    "cosine_distance": [0.059131886343955165, 0.05555003091751909, 0.0394309122087908],
    "euclidean": [1.1702860197647775, 1.1348634436028322, 1.1377241695576388],
    "kendalltau_distance": [12.000000000000002, 11.0, 13.0],
    "ks_test": [0.27037037037037037, 0.2395061728395062, 0.27222222222222225],
    "mahalanobis": [1.8399966228899667, 1.8829005463590862, 2.2372029966429654],
    "mean_absolute_error": [0.32113843368432327, 0.33221129868385424, 0.2825101675701013],
    "mean_var_distribution": [0.00029331402623476146, 0.00018921950205217164, 0.0003018076358085589],
    "mse": [0.1521743742285428, 0.14310167062511986, 0.14382403177729097],
    "pearson_distance": [0.46587451025844795, 0.48701927450425353, 0.3427292611166969],
    "r2_distance": [1.0784346580040434, 1.2556776814888462, 0.8977923449490831],
    "root_mean_squared_error": [1.1702860197647775, 1.1348634436028322, 1.1377241695576388],
    "spearman_distance": [0.4666666666666667, 0.5, 0.6333333333333333],
    "sym_kldiv": [0.42384877295060275, 0.3203765283555319, 0.40170840685013315],
    "t_test": [1.3187436867386044, 1.9931111514304303, 1.37379315618638],
    "nb_ll": [2.4953461587806363, 2.294454462774249, 2.2957968069410217],
}
# Its hold-out has no seed: mean and standard deviation over 200 calls.
PROBA = [0.7457540225871934, 0.5437579849085661, 0.696857404766671], [0.0774, 0.1011, 0.0955]
MEDIAN = [1.230147967524304, 1.2036597076748452, 1.338067723217828]  # euclidean, agg_fct=np.median


def to_ctrl(screen, metric, layer, **options):
    distance = pertorch.Distance(metric, layer_key=layer, **options)
    return distance.onesided_distances(screen, "target", "ctrl", groups=["a", "b", "c"]).to_numpy()


@pytest.mark.parametrize("storage", ["", "_csr"])
@pytest.mark.parametrize("metric", sorted(GOLDEN))
def test_pertpy(screen, metric, storage):
    layer = "counts" if metric == "nb_ll" else "log"
    assert_close(to_ctrl(screen, metric, layer + storage), GOLDEN[metric], rel=1e-9)


@pytest.mark.parametrize("storage", ["", "_csr"])
def test_pertpy_median(screen, storage):
    assert_close(to_ctrl(screen, "euclidean", "log" + storage, agg_fct=np.median), MEDIAN, rel=1e-9)


def test_pertpy_classifier_proba(screen):
    runs = [to_ctrl(screen, "classifier_proba", "log", random_state=seed) for seed in range(50)]
    mean, sd = map(np.array, PROBA)
    assert np.all(np.abs(np.mean(runs, 0) - mean) < 4 * sd * (1 / 50 + 1 / 200) ** 0.5)
    assert_close(np.std(runs, 0), sd, rel=0.4)
