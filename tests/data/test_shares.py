"""Shares of groups and of pairs: each once, no load larger than it may be, and few loads."""

import pytest
import torch

from pertorch.data import Pairs
from pertorch.data._shares import group_shares, pair_shares

SIZES = torch.tensor([30, 5, 5, 12, 40, 8, 8, 1, 20, 11])


def loads(shares):
    return list(dict.fromkeys(tuple(share.loaded) for share in shares))


def as_given(shares, pairs):
    """The pairs that the shares hold, in the order given."""
    found = torch.empty(len(pairs), 2, dtype=torch.int64)
    for share in shares:
        groups = torch.tensor(share.groups)
        found[share.which] = torch.stack([groups[share.pairs.left], groups[share.pairs.right]], 1)
        assert [share.loaded[i] for i in share.within] == share.groups
    assert sorted(torch.cat([share.which for share in shares]).tolist()) == [*range(len(pairs))]
    return found


@pytest.mark.parametrize("by_reference", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("most", [1, 50, 80])
@pytest.mark.parametrize("share", [1, 10**9])
def test_each_pair_once(by_reference, symmetric, most, share):
    pairs = Pairs.all(10, symmetric=symmetric)
    cost = SIZES[pairs.left] * SIZES[pairs.right]
    shares = pair_shares(pairs, SIZES, most, cost, share, by_reference=by_reference)
    every = torch.stack([pairs.left, pairs.right], 1).tolist()
    assert as_given(shares, pairs).tolist() == every
    units = [{y, *pairs.left[pairs.right == y].tolist()} for y in range(10)] if by_reference else list(map(set, every))
    assert all(int(SIZES[list(load)].sum()) <= most or set(load) in units for load in loads(shares))
    if by_reference:
        assert sum(len(pairs.right[s.which].unique()) for s in shares) == len(pairs.right.unique())
    elif share == 1:
        assert len(shares) == len(pairs)


def test_all_pairs_of_b_bands_take_half_of_their_square():
    sizes, pairs = torch.full((60,), 10), Pairs.all(60, symmetric=True)
    shares = pair_shares(pairs, sizes, 100, torch.ones(len(pairs)), 10**9, by_reference=False)
    assert len(loads(shares)) <= 12 * 13 / 2 + 12  # bands of five groups; a run of pairs would take some 400


def test_one_against_all_reads_the_others_once():
    sizes, pairs = torch.full((60,), 10), Pairs.onesided([*range(60)], [7]).distinct(60, symmetric=False)[0]
    shares = pair_shares(pairs, sizes, 100, torch.ones(len(pairs)), 10**9, by_reference=False)
    assert len(loads(shares)) == 7  # nine groups beside the one
    assert sorted(g for load in loads(shares) for g in load if g != 7) == [g for g in range(60) if g != 7]


@pytest.mark.parametrize("most", [1, 50, 1000])
def test_each_group_once(most):
    shares = group_shares([0, 2, 3, 4, 8, 9], SIZES, most, 20)
    assert [g for share in shares for g in share.groups] == [0, 2, 3, 4, 8, 9]
    assert all(int(SIZES[list(load)[:-1]].sum()) <= most for load in loads(shares))  # the last may reach beyond
