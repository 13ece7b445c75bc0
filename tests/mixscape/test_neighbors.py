from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from pertorch.ops.neighbors import _search as search
from pertorch.ops.neighbors import check_backend, nearest_neighbors


def brute(x: torch.Tensor, c: torch.Tensor, k: int) -> np.ndarray:
    distance = (x.double()[:, None] - c.double()).square().sum(2)
    return np.sort(distance.sort(dim=1, stable=True).indices[:, :k].numpy(), 1)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact(offset, dtype, monkeypatch):
    monkeypatch.setitem(search.SLAB_BYTES, "cpu", 8 * 150 * 7)  # slabs of seven queries
    generator = torch.Generator().manual_seed(0)
    x, c = (torch.randn(n, 5, generator=generator, dtype=dtype) + offset for n in (100, 150))
    found = np.sort(nearest_neighbors(x, c, 9).numpy(), 1)
    np.testing.assert_array_equal(found, brute(x, c, 9))


def test_of_equals_the_first_are_taken():
    c = torch.randint(0, 2, (60, 3), generator=torch.Generator().manual_seed(1)).float()
    np.testing.assert_array_equal(np.sort(nearest_neighbors(c, c, 4).numpy(), 1), brute(c, c, 4))


def test_all_references_where_k_is_all():
    assert nearest_neighbors(torch.randn(3, 2), torch.randn(4, 2), 4).tolist() == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize(("cuda", "package"), [(False, "faiss-cpu"), (True, "cuvs")])
def test_a_missing_library_says_how_to_install_it(cuda, package, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith(("faiss", "cuvs")):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("pertorch.ops.neighbors._approximate.import_module", lambda name: without(name))
    with pytest.raises(ImportError, match=f"ivfflat.*{package}"):
        check_backend("ivfflat", {}, cuda=cuda)
    check_backend("brute", {}, cuda=cuda)


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        ("annoy", {}, "'annoy' is not one of"),
        ("ivfflat", {"trees": 3}, "'trees'.*n_lists"),
        ("brute", {"n": 1}, "none"),
    ],
)
def test_bad_options(algorithm, options, message):
    with pytest.raises(ValueError, match=message):
        check_backend(algorithm, options, cuda=False)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("ivfflat", {"n_lists": 10, "n_probes": 10}), ("ivfpq", {"pq_bits": 6}), ("cagra", {"itopk_size": 200})],
)
def test_approximate_search_finds_most(algorithm, options):
    pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(0)
    x, c = (torch.randn(n, 8, generator=generator) for n in (200, 1000))
    found = nearest_neighbors(x, c, 10, algorithm, options).numpy()
    exact = brute(x, c, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall >= (1.0 if algorithm == "ivfflat" else 0.7)
