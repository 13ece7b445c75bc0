"""What is told of a known number of steps."""

import pytest

from pertorch.exec import steps


@pytest.mark.parametrize("done", [[], [3, 4], [6, 6, 6]])
def test_never_more_than_there_are_and_all_of_them_at_the_end(done):
    told = []
    with steps(told.append, lambda: 10) as tick:
        for n in done:
            tick(n)
            assert sum(told) <= 10
    assert sum(told) == 10
    assert min(told) >= 0


def test_nobody_to_tell():
    with steps(None, lambda: pytest.fail("counted for nothing")) as tick:
        assert tick is None
