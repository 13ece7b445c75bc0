"""Every call to the bit the same on the first GPU, on the second, and on both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import pertorch
from pertorch.ds import simulate_screen
from pertorch.metrics import METRICS, KernelMetric, list_metrics
from pertorch.pp._methods import METHODS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]
DEVICES = ["cuda:0", "cuda:1", "cuda:0,1"]
NAMES = [metric.name for metric in list_metrics()]
SEVERAL = [name for name in NAMES if issubclass(METRICS[name], KernelMetric) or name == "wasserstein"]


@pytest.fixture(scope="module")
def screen():
    """900 cells, 60 genes, 10 targets: log1p in ``X``; ``counts``; ``dense`` and ``dense64``; components in obsm."""
    adata, _ = simulate_screen(900, 60, 10, random_state=1, n_programs=3, program_size=20)
    adata.layers["counts"] = adata.X.copy()
    adata.X = sp.csr_matrix(adata.X.log1p())
    adata.layers["dense64"] = adata.X.toarray().astype(np.float64)
    adata.layers["dense"] = adata.X.toarray()
    centred = adata.layers["dense64"] - adata.layers["dense64"].mean(0)
    adata.obsm["X_pca"] = (centred @ np.linalg.svd(centred, full_matrices=False)[2][:20].T).astype(np.float32)
    return adata


def assert_same_bits(call):
    first, second, both = (under(device, call) for device in DEVICES)
    assert len(first) == len(second) == len(both) > 0
    for table, *others in zip(first, second, both, strict=True):
        for other in others:
            compare(table, other)


def under(device, call):
    with pertorch.settings.override(device=device):
        result = call()
    return result if isinstance(result, tuple) else (result,)


def compare(a, b):
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_exact=True)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            compare(a[key], b[key])
    elif sp.issparse(a):
        compare(a.toarray(), b.toarray())
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def layer_of(name):
    return "counts" if name == "nb_ll" else "dense"


def of(name, layer=None):
    """A metric that all groups have cells enough for."""
    if name == "mahalanobis":
        return pertorch.Distance(name, obsm_key="X_pca")
    if name == "classifier_cp":
        return pertorch.Distance(name, obsm_key="X_pca", max_iter=5000)
    return pertorch.Distance(name, layer_key=layer or layer_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_verbs(screen, name):
    distance = of(name)
    contrasts = pertorch.Distance.create_contrasts(screen, "gene_target", "NT")

    def call():
        tables = distance.pairwise(screen, "gene_target"), distance.onesided_distances(screen, "gene_target", "NT")
        return tables if name == "classifier_cp" else (*tables, distance.contrast_distances(screen, contrasts))

    assert_same_bits(call)


@pytest.mark.parametrize("verb", ["pairwise", "onesided_distances"])
@pytest.mark.parametrize("name", NAMES)
def test_bootstrap(screen, name, verb):
    more = () if verb == "pairwise" else ("NT",)
    call = getattr(of(name), verb)
    targets = [target for target in screen.obs["gene_target"].unique() if target != "NT"]
    options = {"bootstrap": True, "n_bootstrap": 4, "groups": ["NT", *targets[:3]]}
    assert_same_bits(lambda: tuple(call(screen, "gene_target", *more, **options)))


@pytest.mark.parametrize("layer", ["X", "dense64", "counts"])
@pytest.mark.parametrize("name", SEVERAL)
def test_storage(screen, name, layer):
    assert_same_bits(lambda: of(name, layer).pairwise(screen, "gene_target"))


@pytest.mark.parametrize(
    "options", [{"metric": "mmd", "kernel": "rbf", "gamma": "median"}, {"metric": "mmd", "kernel": "poly"}]
)
def test_kernels(screen, options):
    assert_same_bits(lambda: pertorch.Distance(obsm_key="X_pca", **options).pairwise(screen, "gene_target"))


def test_rows_in_bands(screen):
    with pertorch.settings.override(memory_gb=2e-4):
        assert_same_bits(lambda: pertorch.Distance("edistance", layer_key="X").pairwise(screen, "gene_target"))


def test_two_clouds(screen):
    x, y, z = (screen.obsm["X_pca"][i::3] for i in range(3))
    distance = pertorch.Distance("edistance")
    assert_same_bits(
        lambda: (distance(x, y), *distance.bootstrap(x, y, n_bootstrap=5), distance.compare_distance(x, y, z))
    )


def test_multi_gpu_argument(screen):
    distance = pertorch.Distance("edistance")
    tables = [distance.pairwise(screen, "gene_target", multi_gpu=ids) for ids in ([0], [1], [0, 1], "0,1", True, None)]
    for table in tables[1:]:
        compare(table, tables[0])
    with pytest.raises(ValueError, match=r"GPU id 99 does not exist"):
        distance.pairwise(screen, "gene_target", multi_gpu=[0, 99])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "classifier_cp"])
def test_permutations(screen, name):
    source = {"obsm_key": "X_pca"} if name in ("mahalanobis", "edistance") else {"layer_key": layer_of(name)}
    test = pertorch.DistanceTest(name, n_perms=12, **source)
    assert_same_bits(lambda: test(screen, "gene_target", "NT"))


@pytest.fixture(scope="module")
def guides():
    return simulate_screen(1500, 40, 8, random_state=2, n_programs=2, program_size=10).guides


@pytest.mark.parametrize("method", METHODS)
def test_guides(guides, method):
    def call():
        out = guides.copy()
        pertorch.GuideAssignment().assign(out, method=method, batch_key="batch")
        return out.layers["assigned_guides"], out.uns["guide_assignment"]["parameters"]

    assert_same_bits(call)


@pytest.mark.parametrize("method", ["wilcoxon", "t-test", "t-test_overestim_var"])
def test_markers(screen, method):
    assert_same_bits(
        lambda: pertorch.perturbation_markers(screen, "gene_target", "NT", test_method=method, split_by="batch")
    )


def test_mixscape_and_mixscale(screen):
    """To the bit, but for the embedding: LAPACK's last digits hang on where its arrays happen to lie."""
    mixscape = pertorch.Mixscape()
    options = {"min_de_genes": 1, "logfc_threshold": 0.05, "pval_cutoff": 0.5}

    def call():
        adata = screen.copy()
        mixscape.perturbation_signature(adata, "gene_target", "NT", n_neighbors=10)
        mixscape.mixscape(adata, "gene_target", "NT", **options)
        mixscape.mixscale(adata, "gene_target", "NT", **options)
        mixscape.lda(adata, "gene_target", "NT", mixscape_class_global="mixscape_class_global")
        embeddings.append(adata.uns["mixscape_lda"])
        return adata.layers["X_pert"], adata.obs

    embeddings = []
    assert_same_bits(call)
    for other in embeddings[1:]:
        np.testing.assert_allclose(other, embeddings[0], atol=1e-9 * np.abs(embeddings[0]).max())


def test_a_device_out_of_memory_goes_on(screen, monkeypatch, caplog):
    """The second of two, once: what it did so far is done again there, and the other's work stands."""
    from pertorch.metrics import _kernel

    expected, real, failed = pertorch.Distance("edistance").pairwise(screen, "gene_target"), _kernel.cell_block_sums, []

    def fake(cells, left, right, device, **options):
        if device.index == 1 and not failed:
            failed.append(device)
            torch.empty(2**50, device=device)
        return real(cells, left, right, device, **options)

    monkeypatch.setattr(_kernel, "cell_block_sums", fake)
    compare(pertorch.Distance("edistance").pairwise(screen, "gene_target"), expected)
    assert caplog.text.count("cuda:1 ran out of memory: done with slabs of at most") == len(failed) == 1
