import itertools

import numpy as np
import pandas as pd
import torch
from hypothesis import given
from hypothesis import strategies as st

from pertorch.data import Groups, Pairs, onesided_frame, pairwise_frame


def as_set(pairs):
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def test_all_pairs():
    assert as_set(Pairs.all(4, symmetric=True)) == set(itertools.combinations(range(4), 2))
    assert as_set(Pairs.all(4, symmetric=False)) == set(itertools.permutations(range(4), 2))
    assert len(Pairs.all(1, symmetric=True)) == len(Pairs.all(0, symmetric=False)) == 0


def test_onesided_pairs():
    pairs = Pairs.onesided([3, 0], [1, 2, 3])
    assert pairs.left.tolist() == [3, 3, 3, 0, 0, 0]
    assert pairs.right.tolist() == [1, 2, 3, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20), st.booleans())
def test_distinct_pairs(pairs, symmetric):
    ours = Pairs(*torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T)
    distinct, position = ours.distinct(6, symmetric=symmetric)
    wanted = {(min(p), max(p)) if symmetric else p for p in pairs if p[0] != p[1]}
    assert as_set(distinct) == wanted
    assert len(distinct) == len(wanted)
    for (a, b), at in zip(pairs, position.tolist(), strict=True):
        if a == b:
            assert at == -1
        else:
            found = (int(distinct.left[at]), int(distinct.right[at]))
            assert found == ((min(a, b), max(a, b)) if symmetric else (a, b))


def test_pairwise_frame():
    groups = Groups(("x", 2, ("a", "b")), np.zeros(0, np.int64), "label")
    pairs = Pairs.all(3, symmetric=True)
    frame = pairwise_frame(
        groups, pairs, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "pairwise edistance", symmetric=True
    )
    assert frame.to_numpy().tolist() == [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    assert list(frame.index) == list(frame.columns) == ["x", 2, ("a", "b")]
    assert frame.index.name == frame.columns.name == "label"
    assert frame.name == "pairwise edistance"
    assert (frame.dtypes == np.float64).all()


def test_onesided_frame():
    groups = Groups(("x", "y", "z"), np.zeros(0, np.int64), "label")
    series = onesided_frame(groups, ["z", "x"], ["y"], torch.tensor([5.0, 6.0], dtype=torch.float64), single=True)
    pd.testing.assert_series_equal(series, pd.Series([5.0, 6.0], index=pd.Index(["z", "x"], name="label"), name="y"))
    frame = onesided_frame(groups, ["z", "x"], ["y", "x"], torch.arange(4.0, dtype=torch.float64), single=False)
    assert frame.loc["z"].tolist() == [0, 1]
    assert frame.loc["x"].tolist() == [2, 3]
    assert (frame.index.name, frame.columns.name) == ("label", "selected_group")
