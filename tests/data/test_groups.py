import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from pertorch.data import Groups

CPU = torch.device("cpu")


def labelled(labels):
    adata = anndata.AnnData(np.zeros((len(labels), 1), np.float32))
    adata.obs["g"] = labels if isinstance(labels, pd.Categorical) else pd.Series(labels, index=adata.obs_names)
    return adata


def groups_of(labels, groups=None):
    return Groups.from_obs(labelled(labels), "g", groups)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "b", "c"], ("b", "a", "c")),  # text: order of appearance
        ([2, 1, 10, 1], (2, 1, 10)),
        ([0.5, -1.0, 0.5, 0.5], (0.5, -1.0)),
        ([True, False, True, True], (True, False)),
        (pd.Categorical(["b", "a", "b", "c"]), ("a", "b", "c")),  # category order
        (pd.Categorical(["b", "a", "b", "c"], categories=["z", "c", "b", "a"]), ("c", "b", "a")),  # "z" is unused
        (pd.Categorical([2, 1, 10, 1]), (1, 2, 10)),
        (["b", None, "a", "b"], ("b", "a")),  # a missing label is no group
        ([1.0, np.nan, 2.0, 1.0], (1.0, 2.0)),
        (pd.Categorical([None, "a", "b", None]), ("a", "b")),
        (pd.array([3, None, 1, 3], dtype="Int64"), (3, 1)),
        (pd.array(["b", None, "a", "b"], dtype="string"), ("b", "a")),
        ([None] * 4, ()),
    ],
    ids=str,
)
def test_names_codes_and_order(labels, names):
    groups = groups_of(labels)
    assert groups.names == names
    assert [type(name) for name in groups.names] == [type(name) for name in names]
    series = pd.Series(labels)
    expected = [names.index(label) if pd.notna(label) else -1 for label in series]
    assert groups.codes.tolist() == expected
    assert groups.sizes.tolist() == [expected.count(g) for g in range(len(names))]
    for g in range(len(names)):
        rows = groups.order(CPU)[groups.offsets[g] : groups.offsets[g + 1]]
        assert rows.tolist() == [i for i, code in enumerate(expected) if code == g]


def test_asked_for_in_this_order_repeats_dropped():
    groups = groups_of(pd.Categorical(["b", "a", "b", "c", None]), ["c", "b", "c"])
    assert groups.names == ("c", "b")
    assert groups.codes.tolist() == [1, -1, 1, 0, -1]
    assert groups.offsets.tolist() == [0, 1, 3]


def test_none_asked_for():
    groups = groups_of(["a", "b"], [])
    assert groups.names == ()
    assert groups.order(CPU).tolist() == []


@pytest.mark.parametrize(
    "asked", [pd.Index(["b", "a"]), np.array(["b", "a"]), ("b", "a"), pd.Series(["b", "a"])], ids=type
)
def test_asked_for_as_any_sequence(asked):
    assert groups_of(["a", "b"], asked).names == ("b", "a")


def test_order_is_stable_in_many_groups():
    """More groups than 16 bits tell apart."""
    labels = np.random.default_rng(0).permutation(np.arange(140_000) % 70_000)
    groups = groups_of(labels)
    assert len(groups.names) == 70_000
    assert (groups.sizes == 2).all()
    pairs = groups.order(CPU).reshape(-1, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (labels[pairs[:, 0]] == np.array(groups.names)).all()


def test_keys_depend_on_the_name_alone():
    one, other = groups_of(["a", "b", "c"]), groups_of(pd.Categorical(["c", "x", "a", "a"]))
    assert one.keys[0] == other.keys[other.index("a")]
    assert one.keys[2] == other.keys[other.index("c")]
    assert len(set(one.keys)) == 3


@pytest.mark.parametrize("missing", ["d", None, np.nan, 3, "A", ["a"]], ids=str)
def test_unknown_group(missing):
    with pytest.raises(ValueError, match="has no cells in obs column 'g'"):
        groups_of(["a", "b", "c"], [missing]) if not isinstance(missing, list) else groups_of(["a"]).index(missing)


def test_unused_category_is_unknown():
    with pytest.raises(ValueError, match=r"group 'z' has no cells in obs column 'g': there are: 'a'\."):
        groups_of(pd.Categorical(["a"], categories=["a", "z"]), ["z"])


def test_one_name_is_no_list():
    with pytest.raises(ValueError, match="groups='ab' is one name: pass a list"):
        groups_of(["a", "b"], "ab")


def test_unknown_column():
    with pytest.raises(KeyError, match="obs column 'gg' not found: did you mean 'g'"):
        Groups.from_obs(labelled(["a"]).copy(), "gg")
