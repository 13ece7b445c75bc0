"""Groups, or pairs of groups, that are worked on together: as many as fit in memory, and shares of these.

How they are cut depends on sizes, costs and budgets alone: not on where the cells are, nor on who works on them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from pertorch.data._pairs import Pairs
from pertorch.ops.segment import batches


@final
class Share(NamedTuple):
    """Some groups and, where pairs were cut, some pairs of them.

    Attributes
    ----------
    groups
        The groups, ascending.
    loaded
        Groups whose cells are brought into memory together, for this share and its neighbours, which have this list in
        common.
    which
        Positions of the pairs among all of them.
    pairs
        The pairs, numbered within `groups`.
    """

    groups: list[int]
    loaded: list[int]
    which: Tensor
    pairs: Pairs

    @property
    def within(self) -> list[int]:
        """Where its groups stand among those that are loaded."""
        at = {g: i for i, g in enumerate(self.loaded)}
        return [at[g] for g in self.groups]


def group_shares(groups: Sequence[int], sizes: Tensor, most: float, share: float) -> list[Share]:
    """Runs of groups of about `share` cells; of those that are loaded together, about `most`, or one group."""
    cells, none = sizes[list(groups)].double(), torch.zeros(0, dtype=torch.int64)
    out = []
    for run in batches(cells, max(1, int(most))):
        loaded = list(groups[run])
        out += [
            Share(loaded[some], loaded, none, Pairs(none, none)) for some in batches(cells[run], max(1, int(share)))
        ]
    return out


def pair_shares(
    pairs: Pairs, sizes: Tensor, most: float, cost: Tensor, share: float, *, by_reference: bool
) -> list[Share]:
    """Shares of pairs, in an order in which few cells are loaded again.

    Parameters
    ----------
    pairs
        Pairs of groups, on the host.
    sizes
        Cells of each group.
    most
        Cells that are loaded together; those of what is never cut may be more.
    cost, share
        Cost of each pair, and, about, of a share, in any unit.
    by_reference
        Whether all pairs of one right group stay together. Else a pair is what is never cut.
    """
    order, ends = _units(pairs, sizes, most, by_reference=by_reference)
    starts, out = [0, *ends.tolist()], []
    sides, summed = torch.stack([pairs.left, pairs.right], 1)[order], torch.cat([cost[:1] * 0, cost[order].cumsum(0)])
    units = [sides[a:b].unique().tolist() for a, b in itertools.pairwise(starts)] if by_reference else sides.tolist()
    costs = summed[starts].diff()
    for run in _fill(units, sizes.tolist(), most):
        loaded = sorted(set(itertools.chain.from_iterable(units[run])))
        for some in batches(costs[run], max(1, int(share))):
            mine = slice(starts[run.start + some.start], starts[run.start + some.stop])
            groups, local = sides[mine].unique(return_inverse=True)
            out.append(Share(groups.tolist(), loaded, order[mine], Pairs(*local.T)))
    return out


def _units(pairs: Pairs, sizes: Tensor, most: float, *, by_reference: bool) -> tuple[Tensor, Tensor]:
    """Order of the pairs, and where in it each unit that is never cut ends.

    Groups are cut into bands of half of what may be loaded, and pairs between two bands follow each other: so all pairs
    of b bands take b² / 2 loads.
    """
    if by_reference:
        order = pairs.right.argsort(stable=True)
        return order, pairs.right[order].unique_consecutive(return_counts=True)[1].cumsum(0)
    band = torch.div(sizes.cumsum(0) - sizes, max(1, int(most) // 2), rounding_mode="floor")
    first, second = (side(band[pairs.left], band[pairs.right]) for side in (torch.minimum, torch.maximum))
    order = (first * (int(band[-1]) + 1) + second).argsort(stable=True)
    return order, torch.arange(1, len(order) + 1)


def _fill(units: Sequence[Sequence[int]], sizes: Sequence[int], most: float) -> Iterator[slice]:
    """Runs of units whose groups have at most so many cells together; one unit at least."""
    start, n_cells, met = 0, 0, set[int]()
    for i, unit in enumerate(units if sum(sizes) > most else []):
        new = set(unit) - met
        if met and n_cells + sum(sizes[g] for g in new) > most:
            yield slice(start, i)
            start, n_cells, met, new = i, 0, set(), set(unit)
        n_cells += sum(sizes[g] for g in new)
        met |= new
    yield slice(start, len(units))
