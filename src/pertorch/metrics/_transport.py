"""Metrics of optimal transport."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor

from pertorch.metrics._base import Distances, Metric
from pertorch.solvers.sinkhorn import Clouds, Rule, Sinkhorn, costs, solve

if TYPE_CHECKING:
    from pertorch.data import Cells, Pairs
    from pertorch.stats import Columns

DRAWN_BYTES = 2**28  # of the cells drawn in the replicates that are evaluated together
NAMED = 5  # pairs that a warning names


@final
@dataclass(frozen=True)
class Wasserstein(Metric):
    """Entropic optimal transport cost with squared Euclidean cost (Cuturi 2013), as OTT's ``reg_ot_cost``.

    ``min ⟨P, C⟩ + ε KL(P | a bᵀ)`` over couplings P of the two groups' cells. It is positive between a group and
    itself; the debiased form is not.

    Parameters
    ----------
    debiased
        Whether to give the Sinkhorn divergence ``W(X, Y) − W(X, X) / 2 − W(Y, Y) / 2`` at the ε of X and Y (Feydy et
        al. 2019): 0 between a group and itself, and never negative.
    epsilon
        ε; ``None``: 0.05 standard deviations of the costs of all pairs of cells of X and Y. Where all costs are equal,
        their mean is the answer.
    threshold
        L1 error of the marginals at which the iteration stops. Below 1e-4 it is done in float64.
    max_iterations
        After so many iterations a pair is given up, with a warning that names it.
    relaxation
        Over-relaxation ω in [1, 2), or ``None`` to find each pair's own from how its errors fall. It changes how many
        iterations it takes, not where they lead.
    """

    name: ClassVar[str] = "wasserstein"
    unit: ClassVar[str] = "pairs of cells"
    is_distance: ClassVar[bool] = False
    by_pairs: ClassVar[bool] = True
    jointly: ClassVar[bool] = True  # problems are iterated in padded batches
    least: ClassVar[int] = 2**26  # a second or two of a core
    debiased: bool = False
    epsilon: float | None = None
    threshold: float = 1e-3
    max_iterations: int = 2000
    relaxation: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 < self.epsilon < float("inf"):
            raise ValueError(f"epsilon={self.epsilon!r} must be a positive number, or None.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold!r} must lie between 0 and 1.")
        if isinstance(self.max_iterations, bool) or not isinstance(self.max_iterations, int) or self.max_iterations < 1:
            raise ValueError(f"max_iterations={self.max_iterations!r} must be a positive whole number.")
        if self.relaxation is not None and not 1 <= self.relaxation < 2:
            raise ValueError(f"relaxation={self.relaxation!r} must lie in [1, 2), or be None.")

    def batch(self, cells: Cells) -> int:
        """Replicates whose cells fit in `DRAWN_BYTES`."""
        nbytes = int(cells.offsets[-1]) * cells.n_features * cells.matrix.dtype.itemsize
        return max(1, DRAWN_BYTES // nbytes)

    def cost(self, cells: Cells, pairs: Pairs, n_replicates: int = 1) -> int:
        """Pairs of cells, in each replicate."""
        return int(self.weigh(cells, pairs.cpu()).sum()) * n_replicates

    def weigh(self, cells: Cells, pairs: Pairs) -> Tensor:
        """Pairs of cells."""
        left, right = cells.sizes[pairs.left], cells.sizes[pairs.right]
        return left * right + self.debiased * (left * left + right * right)

    def _evaluate(
        self,
        cells: Cells,
        pairs: Pairs,
        devices: Sequence[torch.device],
        weights: Columns | None,
        tick: Callable[[int], object] | None,
    ) -> Distances:
        device, n_replicates = devices[0], 1 if weights is None else weights.n_replicates
        rows, drawn = cells.on(device), None if weights is None else weights.on(device)
        clouds = Clouds.of(rows.double() if self.threshold < 1e-4 else rows, cells.offsets, drawn)
        replicate = torch.arange(n_replicates, device=device) * len(cells.sizes)
        left, right = (side.to(device)[:, None] + replicate for side in (pairs.left, pairs.right))
        done = self._transport(clouds, left.flatten(), right.flatten(), devices, tick)
        return Distances(done.cost.reshape(left.shape), done.converged.reshape(left.shape))

    def _transport(
        self,
        clouds: Clouds,
        left: Tensor,
        right: Tensor,
        devices: Sequence[torch.device],
        tick: Callable[[int], object] | None,
    ) -> Sinkhorn:
        rule = Rule(self.threshold, self.max_iterations, self.relaxation)
        epsilon = costs(clouds, left, right).epsilon(self.epsilon)
        if not self.debiased:
            return solve(clouds, left, right, epsilon, rule, tick, devices)
        x, y = torch.cat([left, left, right]), torch.cat([right, left, right])
        done = solve(clouds, x, y, epsilon.repeat(3), rule, tick, devices)
        (xy, xx, yy), converged = done.cost.view(3, -1), done.converged.view(3, -1).all(0)
        iterations, error = (t.view(3, -1).amax(0) for t in (done.iterations, done.marginal_error))
        return Sinkhorn(xy - (xx + yy) / 2, converged, iterations, error)

    def warn(self, cells: Cells, pairs: Pairs, converged: Tensor) -> None:
        """Name the pairs."""
        failed, names = torch.nonzero(~converged.all(1))[:, 0], cells.groups.names
        both = [(names[int(pairs.left[p])], names[int(pairs.right[p])]) for p in failed[:NAMED]]
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        where = "" if converged.shape[1] == 1 else f", in up to {int((~converged).sum(1).max())} replicates each"
        warnings.warn(
            f"{self.name} did not converge in max_iterations={self.max_iterations} (threshold={self.threshold:g})"
            f"{where}: {', '.join(f'{a!r} and {b!r}' for a, b in both)}{more}. "
            "Their values are those of the last iteration.",
            RuntimeWarning,
            stacklevel=2,
        )
