import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from pertorch.ops.pairwise import block_cost
from pertorch.ops.pairwise._schedule import cut_tiles, tile_pairs

sizes_of_groups = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@given(sizes_of_groups, st.integers(1, 20))
def test_tiles_partition_the_rows_and_never_mix_pieces(sizes, most):
    offsets = torch.tensor([0, *itertools.accumulate(sizes)])
    tiles = cut_tiles(offsets, most)
    assert torch.equal(tiles.start[1:], tiles.stop[:-1])
    assert (int(tiles.start[0]), int(tiles.stop[-1])) == (0, sum(sizes))
    assert int((tiles.stop - tiles.start).max()) <= most
    for start, stop, group_start, group_stop in tiles.rows():
        if group_stop - group_start > 1:
            assert (start, stop) == (int(offsets[group_start]), int(offsets[group_stop]))
        else:
            assert int(offsets[group_start]) <= start < stop <= int(offsets[group_stop])


@given(sizes_of_groups, st.integers(1, 20), st.data())
def test_tile_pairs_cover_each_pair_of_cells_once(sizes, most, data):
    offsets = torch.tensor([0, *itertools.accumulate(sizes)])
    pairs = list(itertools.combinations_with_replacement(range(len(sizes)), 2))
    chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    tiles = cut_tiles(offsets, most)
    s, t = tile_pairs(tiles, *torch.tensor(chosen).T)
    assert bool((s <= t).all())
    done = torch.zeros(sum(sizes), sum(sizes), dtype=torch.int64)
    for i, j in zip(s.tolist(), t.tolist(), strict=True):
        done[tiles.start[i] : tiles.stop[i], tiles.start[j] : tiles.stop[j]] += 1
    assert int(done.max()) == 1
    for a, b in chosen:
        block = done[offsets[a] : offsets[a + 1], offsets[b] : offsets[b + 1]]
        assert bool((block if a != b else torch.maximum(block, block.T)).all())


def test_cost_counts_each_pair_of_cells_once():
    cost = block_cost(torch.tensor([0, 3, 8]), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    assert cost.tolist() == [4, 15, 12]  # 9 / 2, 15, 25 / 2
