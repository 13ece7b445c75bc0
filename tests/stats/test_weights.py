import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pertorch.stats import Bootstrap, Permutations, shuffled

CPU = torch.device("cpu")
SIZES = (5, 1, 40)
OFFSETS = torch.tensor([0, *itertools.accumulate(SIZES)])
KEYS = torch.tensor([11, -3, 2**60])


def test_each_group_is_drawn_at_its_own_size():
    counts = Bootstrap(OFFSETS, KEYS, 50, 0).columns(0, 50, CPU)
    assert counts.shape == (sum(SIZES), 50)
    assert counts.dtype == torch.float32
    for block, size in zip(counts.split(SIZES), SIZES, strict=True):
        assert (block.sum(0) == size).all()
        assert (block >= 0).all()


def test_every_cell_is_as_likely():
    n_replicates = 4000
    counts = Bootstrap(OFFSETS, KEYS, n_replicates, 0).columns(0, n_replicates, CPU).numpy()
    for block in np.split(counts, OFFSETS[1:-1]):
        if len(block) > 1:
            assert chisquare(block.sum(1)).pvalue > 1e-3
            # Multinomial: a count varies by 1 − 1/n, and two counts of a group vary together by −1/n
            np.testing.assert_allclose(block.var(1).mean(), 1 - 1 / len(block), rtol=0.03)
            covariance = np.cov(block)[np.triu_indices(len(block), 1)].mean()
            np.testing.assert_allclose(covariance, -1 / len(block), rtol=0.1)


def test_columns_do_not_depend_on_the_chunk():
    weights = Bootstrap(OFFSETS, KEYS, 300, 4)
    whole = weights.columns(0, 300, CPU)
    assert torch.equal(torch.cat([weights.columns(s, min(s + 7, 300), CPU) for s in range(0, 300, 7)], 1), whole)
    assert len(torch.unique(whole, dim=1).T) == 300


def test_a_groups_draws_do_not_depend_on_the_other_groups():
    whole = Bootstrap(OFFSETS, KEYS, 10, 4).columns(0, 10, CPU)
    alone = Bootstrap(torch.tensor([0, 40, 45]), KEYS[[2, 0]], 10, 4).columns(0, 10, CPU)
    assert torch.equal(alone[:40], whole[6:])
    assert torch.equal(alone[40:], whole[:5])


@pytest.mark.gpu
def test_same_draws_on_a_gpu():
    weights = Bootstrap(OFFSETS, KEYS, 20, 4)
    assert torch.equal(weights.columns(0, 20, torch.device("cuda")).cpu(), weights.columns(0, 20, CPU))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 256, 257, 1000, 4099])
def test_shuffled_is_a_permutation(n):
    found = shuffled(3, 17, torch.arange(6), torch.arange(n), n)
    assert torch.equal(found.sort(1).values, torch.arange(n).expand(6, n))


def test_every_permutation_of_few_is_as_likely():
    found = shuffled(0, 1, torch.arange(12_000), torch.arange(4), 4)
    _, counts = torch.unique(found, dim=0, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [50, 700])
def test_every_position_is_as_likely(n):
    found = shuffled(0, 1, torch.arange(4000), torch.tensor([0, 1, n - 1]), n).numpy()
    for column in found.T:
        assert chisquare(np.bincount(column, minlength=n)).pvalue > 1e-3
    # where two neighbours go: a tenth of the range apart as often as chance has it
    near = (np.abs(found[:, 0] - found[:, 1]) < n // 10).mean()
    expected = np.mean([min(i + n // 10, n) - max(i - n // 10 + 1, 0) - 1 for i in range(n)]) / (n - 1)
    assert abs(near - expected) < 4.5 * np.sqrt(expected / 4000)


@pytest.mark.parametrize(("n_left", "n_right"), [(5, 9), (9, 5), (1, 4), (3, 3)])
def test_permuted_labels(n_left, n_right):
    n = n_left + n_right
    columns = Permutations(n_left, n_right, 5, 40, 2).columns(0, 40, CPU)
    left, right = columns.split(n)
    assert torch.equal(left + right, torch.ones(n, 40))
    assert (left.sum(0) == n_left).all()
    assert (right.sum(0) == n_right).all()


def test_permutations_do_not_depend_on_the_chunk():
    labels = Permutations(20, 30, 5, 40, 2)
    parts = [labels.columns(start, start + 8, CPU) for start in range(0, 40, 8)]
    assert torch.equal(torch.cat(parts, 1), labels.columns(0, 40, CPU))
