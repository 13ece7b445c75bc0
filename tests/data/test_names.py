import pytest

from pertorch.data import nearest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("STAT11", ["JAK2", "STAT1"], "did you mean 'STAT1'?"),
        (11, [1, 2, 111], "did you mean 111, 1?"),
        ("x", [], "there are none."),
        ("x", ["STAT1", 2], "there are: 'STAT1', 2."),
        ("x", list(range(100, 110)), "there are: 100, 101, 102, 103, 104 and 5 more."),
        (None, ["NT"], "there are: 'NT'."),
    ],
)
def test_nearest(name, known, expected):
    assert nearest(name, known) == expected
