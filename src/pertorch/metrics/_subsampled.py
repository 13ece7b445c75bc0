"""Distances of small screens drawn from a large one, and of the same with their labels dealt out again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, final

import torch
from torch import Tensor

from pertorch.exec import map_threads
from pertorch.metrics._kernel import KernelMetric, PairSums
from pertorch.ops.pairwise import operands

if TYPE_CHECKING:
    from pertorch.data import Cells

NUMBERS = {"cpu": 2**21, "cuda": 2**26}  # of the blocks of κ that are handled at once, float64
KEPT = 2**25  # of κ between all cells of a target and the controls


@final
class Deals(NamedTuple):
    """Labels of the replicates of one target at one size, dealt out again: as many deals for each replicate.

    Attributes
    ----------
    kept
        Which of a replicate's target cells the smaller group keeps: shape ``(replicates, n, deals)``, bool.
    n_controls
        Controls that it takes instead of the others, the first of the replicate's sequence: ``(replicates, deals)``.
    """

    kept: Tensor
    n_controls: Tensor


@final
class Subsampled:
    """Drawn screens that share their controls, and on demand the distances of their targets.

    With A the cells dealt to the target, P all cells of a drawn screen and ρ the sums of κ over P,
    ``Σ_AB = Σ_A ρ − Σ_AA`` and ``Σ_BB = Σ_PP − 2 Σ_A ρ + Σ_AA``. A is made of some of the target's cells and the first
    of a sequence of controls: so ``Σ_AA`` among controls is read off running sums, which serve every target and size.

    Parameters
    ----------
    metric
        Bound to the cells.
    cells
        Of the pilot.
    control
        Position of the control among its groups.
    controls
        Controls of each replicate, positions in the group: shape ``(replicates, m)``, or ``(1, m)`` where they are the
        same in all.
    sequences
        For each deal of each replicate controls in random order, positions in a row of `controls`: shape
        ``(replicates, deals, longest)``.
    device
        Where to compute.
    """

    def __init__(
        self,
        metric: KernelMetric,
        cells: Cells,
        control: int,
        controls: Tensor,
        sequences: Tensor,
        device: torch.device,
    ) -> None:
        self._metric, self._kernel, self._device = metric, metric.kappa(), device
        self._row, self._column, _ = operands(metric.prepare(cells.on(device)).double(), self._kernel)
        self._first = cells.offsets.tolist()
        self._starts = cells.offsets.tolist()
        everyone = torch.arange(self._starts[control], self._starts[control + 1], device=device)
        self._controls = everyone[controls.to(device)]
        self._sequences = sequences.to(device)
        self._over_controls = self._sums_over_controls(everyone, controls.to(device))
        self._running = self._running_sums()

    @property
    def n_deals(self) -> int:
        """Of each replicate."""
        return self._sequences.shape[1]

    def __call__(self, target: int, chosen: Tensor, deals: Deals) -> tuple[Tensor, Tensor]:
        """Distances of a target.

        Parameters
        ----------
        target
            Position among the groups.
        chosen
            Cells of each replicate, positions in the group: shape ``(replicates, n)``.
        deals
            Their labels, dealt out again.

        Returns
        -------
        Of each replicate, shape ``(replicates,)``, and of each deal, ``(replicates, deals)``: float64, on the CPU.
        """
        chosen = chosen.to(self._device)
        step = max(1, NUMBERS[self._device.type] // (chosen.shape[1] * self._controls.shape[1]))
        runs = torch.arange(len(chosen)).split(step)
        work = partial(self._distances, self._across(target), self._starts[target], chosen, deals)
        done = list(map_threads(work, runs, self._device))
        observed, null = (torch.cat(parts).cpu() for parts in zip(*done, strict=True))
        return observed, null

    def _across(self, target: int) -> Callable[[Tensor, Tensor], Tensor]:
        """κ of some of a target's cells, positions in the group, with the controls of their replicates."""
        start, stop = self._starts[target : target + 2]
        if len(self._controls) > 1 or (stop - start) * self._controls.shape[1] > KEPT:
            return lambda chosen, replicate: self._kappa(chosen + start, self._controls[replicate])
        every = self._kappa(torch.arange(start, stop, device=self._device), self._controls[0])
        return lambda chosen, _: every[chosen]

    def _distances(
        self,
        find_across: Callable[[Tensor, Tensor], Tensor],
        start: int,
        every: Tensor,
        deals: Deals,
        run: Tensor,
    ) -> tuple[Tensor, Tensor]:
        chosen, run = every[run.to(every.device)], run.to(self._device)
        shared = run % len(self._controls)
        kept, taken = (part[run.cpu()].to(self._device) for part in deals)
        kept = kept.double()
        across, within = find_across(chosen, shared), self._kappa(chosen + start, chosen + start)
        of_target, of_controls = across.sum(2) + within.sum(2), across.sum(1)  # sums over the cells of the screen: ρ
        between, own = of_controls.sum(1), within.sum((1, 2))
        rest = self._over_controls[shared].sum(1)
        observed = self._combine(between, own, rest, chosen.shape[1])

        of_controls += self._over_controls[shared]
        # Of κ with the target cells that a deal keeps; then of its controls, those at the head of the sequence
        with_kept = across.transpose(1, 2) @ kept
        sequence = self._sequences[run, :, : chosen.shape[1]]
        head = torch.arange(sequence.shape[2], device=run.device) < taken[:, :, None]
        replicate = torch.arange(len(run), device=run.device)[:, None, None]
        deal = torch.arange(sequence.shape[1], device=run.device)[:, None]
        over = (of_target[:, :, None] * kept).sum(1) + (of_controls[replicate, sequence] * head).sum(2)
        inside = (
            self._running[run].gather(2, taken[:, :, None])[:, :, 0]
            + 2 * (with_kept[replicate, sequence, deal] * head).sum(2)
            + (kept * (within @ kept)).sum(1)
        )
        total = (rest + 2 * between + own)[:, None]
        return observed, self._combine(over - inside, inside, total - 2 * over + inside, chosen.shape[1])

    def _combine(self, between: Tensor, left: Tensor, right: Tensor, n: int) -> Tensor:
        sizes = (between.new_full((), size) for size in (n, self._controls.shape[1]))
        return self._metric.combine(PairSums(between, left, right, *sizes))

    def _kappa(self, x: Tensor, y: Tensor) -> Tensor:
        """κ of cells with cells: shapes ``(…, n)`` and ``(…, m)`` of positions give ``(…, n, m)``."""
        values = self._row[x] @ self._column[y].transpose(-1, -2)
        return self._kernel.apply(values.clamp_(min=0) if self._kernel.of_distance else values)

    def _sums_over_controls(self, everyone: Tensor, controls: Tensor) -> Tensor:
        """Sum of κ of each control of a replicate over all of them: ``(replicates or 1, m)``."""
        weights = torch.zeros(len(everyone), len(controls), dtype=torch.float64, device=self._device)
        weights.scatter_(0, controls.T, 1.0)
        step = max(1, NUMBERS[self._device.type] // len(everyone))
        sums = map_threads(lambda rows: self._kappa(rows, everyone) @ weights, everyone.split(step), self._device)
        return torch.cat(list(sums)).T.gather(1, controls)

    def _running_sums(self) -> Tensor:
        """Sum of κ within the first 0, 1, … controls of each sequence: ``(replicates, deals, longest + 1)``."""
        replicate = torch.arange(len(self._sequences), device=self._device) % len(self._controls)
        sequences = self._controls[replicate[:, None, None], self._sequences].flatten(0, 1)

        def running(some: Tensor) -> Tensor:
            values = self._kappa(some, some)
            added = 2 * values.tril(-1).sum(2) + values.diagonal(dim1=1, dim2=2)
            return torch.nn.functional.pad(added.cumsum(1), (1, 0))

        step = max(1, NUMBERS[self._device.type] // sequences.shape[1] ** 2)
        sums = torch.cat(list(map_threads(running, sequences.split(step), self._device)))
        return sums.unflatten(0, self._sequences.shape[:2])
