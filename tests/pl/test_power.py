from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pertorch import pl
from pertorch.pl._power import APART


def table(n_targets: int) -> pd.DataFrame:
    names = [f"gene{i:02d}" for i in range(n_targets)]
    rows = [(name, n, min(1.0, n / 100 * (i + 1))) for i, name in enumerate(names) for n in (100, 25)]
    frame = pd.DataFrame(rows, columns=["target", "n_cells", "power"])
    return frame.assign(lower=frame["power"] * 0.9, upper=frame["power"])


def test_few_targets_are_named_apart():
    figure = pl.power_curve(table(6), return_fig=True)
    (ax,) = figure.axes
    assert sorted(text.get_text() for text in ax.texts) == [f"gene{i:02d}" for i in range(6)]
    heights = np.sort([text.xy[1] for text in ax.texts])
    assert (np.diff(heights) > APART - 1e-9).all()
    assert heights[0] >= 0
    assert heights[-1] <= 1
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[25, 0.25], [100, 1.0]])  # after the line at 0.8
    assert len(pl.power_curve(table(6), targets=["gene01"], return_fig=True).axes[0].texts) == 1


def test_many_targets_are_summed_up():
    (ax,) = pl.power_curve(table(12), return_fig=True).axes
    median, share = ax.lines[-2].get_ydata(), ax.lines[-1].get_ydata()
    power = table(12).groupby("n_cells")["power"]
    np.testing.assert_allclose(median, power.median())
    np.testing.assert_allclose(share, [(power.get_group(n) >= 0.8).mean() for n in (25, 100)])


@pytest.mark.parametrize(
    ("frame", "how", "says"),
    [
        (table(2).drop(columns="lower"), {}, r"power lacks \['lower'\]"),
        (table(0), {}, "power lacks rows"),
        (table(2), {"targets": ["gene7"]}, "target 'gene7' is not in the table: did you mean"),
    ],
)
def test_bad_arguments(frame, how, says):
    with pytest.raises(ValueError, match=says):
        pl.power_curve(frame, **how)
