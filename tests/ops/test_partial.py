"""Groups scattered over chunks: sums and moments of each, merged, are those of the groups."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from pertorch.ops.segment import chunk_moments, chunk_sums, merge_moments, merge_sums
from testing.pertorch import assert_close


@pytest.fixture(params=[torch.from_numpy, sp.csr_array])
def chunks(request):
    """Rows far from 0, codes with gaps and −1, cut unevenly; a chunk without any group; one constant column."""
    rng = np.random.default_rng(0)
    values = 1e4 + rng.normal(size=(120, 5)) * (rng.random((120, 5)) < 0.5)
    values[:, 3] = 0.1
    codes = rng.integers(-1, 4, 120) * 2
    codes[codes == -2] = -1
    codes[50:60] = -1
    cuts = [0, 1, 17, 50, 60, 61, 120]
    parts = [(request.param(values[a:b].copy()), codes[a:b]) for a, b in itertools.pairwise(cuts)]
    return values, codes, parts


def test_sums(chunks):
    values, codes, parts = chunks
    found = merge_sums([chunk_sums(*part) for part in parts])
    assert found.groups.tolist() == [0, 2, 4, 6]
    assert_close(found.sums[:, 0], np.stack([values[codes == g].sum(0) for g in (0, 2, 4, 6)]), rel=1e-14)


def test_moments(chunks):
    values, codes, parts = chunks
    leaves = [chunk_moments(*part) for part in parts]
    for merged in (merge_moments(leaves), merge_moments([merge_moments(leaves[:3]), merge_moments(leaves[3:])])):
        groups, (n, mean, variance) = merged.groups.tolist(), (m[:, 0] for m in merged.moments)
        assert groups == [0, 2, 4, 6]
        mine = [values[codes == g] for g in groups]
        assert n[:, 0].tolist() == [len(x) for x in mine]
        assert_close(mean, np.stack([x.mean(0) for x in mine]), rel=1e-15)
        varies = [0, 1, 2, 4]
        assert_close(variance[:, varies], np.stack([x.var(0) for x in mine])[:, varies], rel=1e-11)
        assert (variance[:, 3] == 0).all()  # to the bit, which numpy's is not


def test_sums_of_counts_are_exact(chunks):
    """Ties of means stay ties, which ranks of them need."""
    _, codes, parts = chunks
    rng, whole = np.random.default_rng(1), []
    for rows, _ in parts:
        whole.append(rng.poisson(0.1, rows.shape).astype(np.float64))
    found = merge_sums([chunk_sums(torch.from_numpy(x), c) for x, (_, c) in zip(whole, parts, strict=True)])
    every = np.concatenate(whole)
    np.testing.assert_array_equal(found.sums[:, 0], np.stack([every[codes == g].sum(0) for g in (0, 2, 4, 6)]))
