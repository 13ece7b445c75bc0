"""From the odds of signal at each count to one whole-number threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Background(NamedTuple):
    """What of a guide's counts ambient molecules explain by the cells with 0 and 1 of it alone.

    Ambient capture is a Poisson process on counts, with rate ``ones / zeros``. The mixture, which sees log₂ of the
    non-zero counts, knows nothing of it.

    Attributes
    ----------
    zeros, ones
        Cells with no and with one molecule, shape ``(p,)``, float64.
    """

    zeros: Tensor
    ones: Tensor

    def cells(self, count: Tensor) -> Tensor:
        """Ambient cells expected at or above `count`, shape ``(p, k)`` as `count`; 0 where no cell has 0 molecules."""
        known = self.zeros > 0
        rate = torch.where(known, self.ones / self.zeros.clamp(min=1), 0.0).clamp(max=50)[:, None]
        expected = self.zeros[:, None] * rate.exp() * torch.special.gammainc(count.double(), rate)
        return torch.where(known[:, None], expected, 0.0)


class Thresholds(NamedTuple):
    """The smallest count that is signal, float64, NaN where none is; and whether ambient alone moved it."""

    threshold: Tensor
    moved: Tensor


def thresholds(
    log_odds: Callable[[Tensor], Tensor],
    values: Tensor,
    times: Tensor,
    centre: Tensor,
    background: Background,
    posterior: float,
) -> Thresholds:
    """The smallest count of the run of signal counts that holds the signal's centre.

    A count is signal if its posterior exceeds `posterior`, and if of the cells at or above it at most a share of
    ``1 − posterior`` is expected from ambient molecules. Where the posterior rises with the count, as it does for
    all but very wide signals, this is the first count that is signal.

    Parameters
    ----------
    log_odds
        From counts ``(p, k)`` to log odds of signal to background.
    values, times
        Shape ``(p, k)``: distinct counts, ascending, and cells with each; 0 times is padding.
    centre
        Shape ``(p,)``: the signal's mean in log₂ counts.
    background
        Of each problem.
    posterior
        In (0, 1).
    """
    level = torch.logit(torch.tensor(posterior, dtype=torch.float64)).item()
    there = times > 0
    reached = times.flip(1).cumsum(1).flip(1)  # cells at or above each count
    by_odds = log_odds(values) > level
    accountable = background.cells(values) <= (1 - posterior) * reached
    distance = torch.where(there, (torch.log2(values.double()) - centre[:, None]).abs(), torch.inf)
    nearest = distance.argmin(1, keepdim=True)
    # Above a centre that is signal everything is: far out, a narrow signal's tail falls below the background's.
    by_odds |= by_odds.gather(1, nearest) & (torch.arange(values.shape[1], device=values.device) > nearest)
    unguarded = _run(by_odds & there, nearest)
    first = _run(by_odds & accountable & there, nearest)
    some = first < values.shape[1]
    at = first.clamp(max=values.shape[1] - 1)[:, None]
    enough = (1 - posterior) * reached.gather(1, at)

    def is_signal(count: Tensor) -> Tensor:
        beyond = (first > nearest[:, 0]) & by_odds.gather(1, nearest)[:, 0]
        return (beyond[:, None] | (log_odds(count) > level))[:, 0] & (background.cells(count) <= enough)[:, 0]

    low = torch.where(first > 0, values.gather(1, (at - 1).clamp(min=0))[:, 0], 0)
    count = _bisect(is_signal, low, values.gather(1, at)[:, 0])
    return Thresholds(torch.where(some, count.double(), torch.nan), first != unguarded)


def _run(good: Tensor, nearest: Tensor) -> Tensor:
    """First of the run of good entries that holds `nearest`, else the first good one after it, else past the end."""
    entry = torch.arange(good.shape[1], device=good.device)
    bad_before = torch.where(~good & (entry <= nearest), entry, -1).amax(1)
    good_after = torch.where(good & (entry >= nearest), entry, good.shape[1]).amin(1)
    return torch.where(good.gather(1, nearest)[:, 0], bad_before + 1, good_after)


def _bisect(holds: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """The count in (low, high] from which on `holds` is true; it is true at `high`."""
    while bool((high - low > 1).any()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        true = holds(middle[:, None].clamp(min=1))
        high, low = torch.where(true, middle, high), torch.where(true, low, middle)
        low = torch.minimum(low, high - 1)
    return high
