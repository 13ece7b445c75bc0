"""What is planted: which guide each cell carries, who responds, and what a target changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOCK_DOWN = -2.0  # log2 fold change of a target's own gene in its responders


@dataclass(frozen=True)
class Pool:
    """The guides that are transduced: targets in order, the control last."""

    labels: list[str]
    guides: list[str]
    first: NDArray[np.int64]  # of each label's guides, with the end
    guide_label: NDArray[np.int64]

    @classmethod
    def of(cls, n_targets: int, guides_per_target: int, control: str) -> Pool:
        targets = [f"target{i + 1:0{len(str(n_targets))}d}" for i in range(n_targets)]
        if control in targets:
            raise ValueError(f"control={control!r} is the name of a target: choose another name.")
        sizes = np.array([*[guides_per_target] * n_targets, 2 * guides_per_target])
        labels = [*targets, control]
        guides = [f"{label}_g{j + 1}" for label, size in zip(labels, sizes, strict=True) for j in range(size)]
        return cls(labels, guides, np.concatenate([[0], np.cumsum(sizes)]), np.repeat(np.arange(n_targets + 1), sizes))


@dataclass(frozen=True)
class Cells:
    """What is true of each cell."""

    target: NDArray[np.int64]
    guide: NDArray[np.int64]
    responder: NDArray[np.bool_]
    batch: NDArray[np.int64]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        n_cells: int,
        pool: Pool,
        control_fraction: float,
        responder_fraction: float,
        n_batches: int,
    ) -> Cells:
        control = len(pool.labels) - 1
        is_control = rng.random(n_cells) < control_fraction
        target = np.where(is_control, control, rng.integers(control, size=n_cells))
        guide = rng.integers(pool.first[target], pool.first[target + 1])
        responder = (rng.random(n_cells) < responder_fraction) & ~is_control
        return cls(target, guide, responder, rng.integers(n_batches, size=n_cells))


def effects_of(effects: Sequence[float] | None, n_targets: int) -> NDArray[np.float64]:
    """The effect of each target, as given or evenly from 1 down to 0."""
    planted = np.linspace(1, 0, n_targets) if effects is None else np.asarray(effects, dtype=np.float64)
    if planted.shape != (n_targets,) or not np.isfinite(planted).all() or (planted < 0).any():
        raise ValueError(f"effects={effects!r} must be {n_targets} finite numbers of at least 0, one per target.")
    return planted


def plant(
    rng: np.random.Generator, effect: NDArray[np.float64], n_genes: int, n_programs: int, program_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Program of each target, and log2 fold changes, genes × targets."""
    n_targets = len(effect)
    weights = np.zeros((n_genes, n_programs))
    for p in range(n_programs):
        members = n_targets + rng.choice(n_genes - n_targets, program_size, replace=False)
        drawn = rng.normal(size=program_size)
        weights[members, p] = drawn / np.sqrt(np.mean(drawn**2))
    program = np.arange(n_targets) % n_programs
    log2fc = weights[:, program] * effect
    own = np.arange(n_targets)
    log2fc[own, own] = np.where(effect > 0, KNOCK_DOWN, 0)  # a target without effect has none at all
    return program, log2fc
