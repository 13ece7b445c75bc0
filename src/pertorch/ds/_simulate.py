"""Screens with a known truth, to try methods on and to test them with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch._settings import seed_or_default
from pertorch.ds import _counts
from pertorch.ds._check import in_range, whole_numbers

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

KNOCK_DOWN = -2.0  # log2 fold change of a target's own gene in its responders
SHARE_SD = 1.2  # of the log of genes' shares of a cell's counts
BATCH_SD = 0.15  # of the log2 shift of each gene in each batch
DEPTH_SD = 0.3  # of the log of cells' depths


class Screen(NamedTuple):
    """A simulated screen: two AnnData over the same cells.

    Attributes
    ----------
    genes
        Raw counts, cells × genes, with the truth in ``obs``, ``varm`` and ``uns``.
    guides
        Raw guide counts, cells × guides, with the truth in ``obs`` and each guide's target in ``var``.
    """

    genes: AnnData
    guides: AnnData

    def to_mudata(self) -> MuData:
        """Both as one object: modalities ``"rna"`` and ``"gdo"`` (guide-derived oligonucleotides), truth in ``obs``.

        Raises
        ------
        ImportError
            If mudata is not installed.
        """
        try:
            import mudata
        except ImportError as error:
            raise ImportError("MuData needs mudata: pip install pertorch[datasets]") from error
        # Before 0.4 it copied columns up by default, and warned.
        older = getattr(mudata, "set_options", None)
        with older(pull_on_update=False) if older else nullcontext():
            both = mudata.MuData({"rna": self.genes, "gdo": self.guides})
        for column in self.genes.obs:
            both.obs[column] = self.genes.obs[column]
        return both


def simulate_screen(
    n_cells: int = 5_000,
    n_genes: int = 1_000,
    n_targets: int = 30,
    *,
    effects: Sequence[float] | None = None,
    responder_fraction: float = 0.75,
    n_programs: int = 6,
    program_size: int = 50,
    guides_per_target: int = 3,
    control: str = "NT",
    control_fraction: float = 0.15,
    n_batches: int = 2,
    counts_per_cell: float = 2_000.0,
    dispersion: float = 0.25,
    guide_counts_per_cell: float = 60.0,
    guide_dispersion: float = 0.6,
    guide_ambient: float = 2.0,
    random_state: int | None = None,
) -> Screen:
    """Simulate a pooled CRISPR screen read out by single-cell RNA sequencing.

    A gene's count is negative binomial (Svensson 2020): variance ``mean + dispersion · mean²``. Its mean is the
    cell's depth times the gene's share, which the batch shifts, and which a target shifts in the cells that respond
    to it: the target's own gene falls fourfold, and the genes of one expression program change by the target's effect
    times the gene's weight in the program. Targets take programs in turn; those that share one are alike, as members
    of a pathway are. Cells that escape are as controls. Each cell carries one guide; besides that guide's counts it
    has ambient ones, from all guides in the pool.

    Parameters
    ----------
    n_cells, n_genes, n_targets
        Cells, genes, and targeted genes, which are the first of the genes.
    effects
        One per target: root mean square, over the genes of its program, of the log2 fold change in responders.
        ``None``: evenly from 1 down to 0.
    responder_fraction
        Expected share of a target's cells that respond, in [0, 1].
    n_programs, program_size
        Expression programs, and genes in each, drawn from the genes that are no target; programs may overlap.
    guides_per_target
        Guides of each target; the control has twice as many.
    control
        Label of the control in ``obs["gene_target"]``.
    control_fraction
        Expected share of cells with a control guide, in [0, 1]; targets share the rest evenly.
    n_batches
        Batches, over which cells fall evenly at random.
    counts_per_cell
        Median of the expected counts of a cell; the depth of cells is log-normal.
    dispersion
        Of gene counts; 0 is Poisson.
    guide_counts_per_cell, guide_dispersion
        Mean and dispersion of the counts of the guide that a cell carries.
    guide_ambient
        Mean of all ambient guide counts of a cell.
    random_state
        Seed; ``None`` is ``pertorch.settings.seed``. The same arguments give the same screen to the bit.

    Returns
    -------
    A named pair ``genes, guides``. Both have CSR float32 ``X`` and the truth in ``obs``: ``gene_target``, ``guide``,
    ``responder`` (never true for controls), ``batch``. ``genes.varm["planted_log2fc"]`` is genes × targets;
    ``genes.uns["planted"]`` a table over targets of ``effect``, ``program`` and ``responder_fraction`` (as drawn; 0
    where a target has no cells); ``guides.var["gene_target"]`` is the target of each guide.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from pertorch.ds import simulate_screen
    >>> genes, guides = simulate_screen(n_cells=200, n_genes=100, n_targets=4)
    >>> genes.shape, guides.shape
    ((200, 100), (200, 18))
    >>> genes.uns["planted"]["effect"].round(2).tolist()
    [1.0, 0.67, 0.33, 0.0]
    """
    whole_numbers(
        n_cells=n_cells, n_targets=n_targets, n_programs=n_programs, program_size=program_size,
        guides_per_target=guides_per_target, n_batches=n_batches,
    )  # fmt: skip
    whole_numbers(n_genes=n_genes, least=n_targets + program_size)
    in_range(0, 1, responder_fraction=responder_fraction, control_fraction=control_fraction)
    in_range(0, np.inf, counts_per_cell=counts_per_cell, guide_counts_per_cell=guide_counts_per_cell)
    in_range(0, np.inf, dispersion=dispersion, guide_dispersion=guide_dispersion, guide_ambient=guide_ambient)
    pool = _Pool.of(n_targets, guides_per_target, control)
    effect = _effects(effects, n_targets)

    design_seed, gene_seed, guide_seed = np.random.SeedSequence(seed_or_default(random_state)).spawn(3)
    rng = np.random.default_rng(design_seed)
    program, log2fc = _plant(rng, effect, n_genes, n_programs, program_size)
    cells = _Cells.draw(rng, n_cells, pool, control_fraction, responder_fraction, n_batches)
    share = np.exp(rng.normal(0, SHARE_SD, n_genes))
    base = share * np.exp2(rng.normal(0, BATCH_SD, (n_batches, n_genes)))
    depth = counts_per_cell * np.exp(rng.normal(0, DEPTH_SD, n_cells))
    fold = np.exp2(np.vstack([log2fc.T, np.zeros(n_genes)]))  # the last row serves controls and escapers
    state = np.where(cells.responder, cells.target, n_targets)
    counts = _counts.gene_counts(gene_seed, base, cells.batch, fold, state, depth, dispersion)
    guide_counts = _counts.guide_counts(
        np.random.default_rng(guide_seed), cells.guide, len(pool.guides), guide_counts_per_cell, guide_dispersion,
        guide_ambient,
    )  # fmt: skip
    return _annotate(counts, guide_counts, pool, cells, effect, program, log2fc)


@dataclass(frozen=True)
class _Pool:
    """The guides that are transduced: targets in order, the control last."""

    labels: list[str]
    guides: list[str]
    first: NDArray[np.int64]  # of each label's guides, with the end
    guide_label: NDArray[np.int64]

    @classmethod
    def of(cls, n_targets: int, guides_per_target: int, control: str) -> _Pool:
        targets = [f"target{i + 1:0{len(str(n_targets))}d}" for i in range(n_targets)]
        if control in targets:
            raise ValueError(f"control={control!r} is the name of a target: choose another name.")
        sizes = np.array([*[guides_per_target] * n_targets, 2 * guides_per_target])
        labels = [*targets, control]
        guides = [f"{label}_g{j + 1}" for label, size in zip(labels, sizes, strict=True) for j in range(size)]
        return cls(labels, guides, np.concatenate([[0], np.cumsum(sizes)]), np.repeat(np.arange(n_targets + 1), sizes))


@dataclass(frozen=True)
class _Cells:
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
        pool: _Pool,
        control_fraction: float,
        responder_fraction: float,
        n_batches: int,
    ) -> _Cells:
        control = len(pool.labels) - 1
        is_control = rng.random(n_cells) < control_fraction
        target = np.where(is_control, control, rng.integers(control, size=n_cells))
        guide = rng.integers(pool.first[target], pool.first[target + 1])
        responder = (rng.random(n_cells) < responder_fraction) & ~is_control
        return cls(target, guide, responder, rng.integers(n_batches, size=n_cells))


def _effects(effects: Sequence[float] | None, n_targets: int) -> NDArray[np.float64]:
    planted = np.linspace(1, 0, n_targets) if effects is None else np.asarray(effects, dtype=np.float64)
    if planted.shape != (n_targets,) or not np.isfinite(planted).all() or (planted < 0).any():
        raise ValueError(f"effects={effects!r} must be {n_targets} finite numbers of at least 0, one per target.")
    return planted


def _plant(
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


def _annotate(
    counts: sp.csr_matrix,
    guide_counts: sp.csr_matrix,
    pool: _Pool,
    cells: _Cells,
    effect: NDArray[np.float64],
    program: NDArray[np.int64],
    log2fc: NDArray[np.float64],
) -> Screen:
    from anndata import AnnData

    *targets, _ = pool.labels
    n_cells, (n_genes, n_targets) = len(cells.target), log2fc.shape
    batches = [f"batch{b + 1}" for b in range(cells.batch.max() + 1)]
    obs = pd.DataFrame(
        {
            "gene_target": pd.Categorical.from_codes(cells.target, pool.labels),
            "guide": pd.Categorical.from_codes(cells.guide, pool.guides),
            "responder": cells.responder,
            "batch": pd.Categorical.from_codes(cells.batch, batches),
        },
        index=_names("cell", n_cells),
    )
    genes = pd.Index([*targets, *_names("gene", n_genes)[n_targets:]])
    responders = np.bincount(cells.target[cells.responder], minlength=n_targets)[:n_targets]
    carriers = np.bincount(cells.target, minlength=n_targets)[:n_targets]
    planted = pd.DataFrame(
        {"effect": effect, "program": program, "responder_fraction": responders / np.maximum(carriers, 1)},
        index=pd.Index(targets, name="gene_target"),
    )
    log2fc_frame = pd.DataFrame(log2fc, index=genes, columns=targets)
    guide_target = pd.Categorical.from_codes(pool.guide_label, pool.labels)
    return Screen(
        AnnData(
            counts,
            obs=obs,
            var=pd.DataFrame(index=genes),
            varm={"planted_log2fc": log2fc_frame},
            uns={"planted": planted},
        ),
        AnnData(guide_counts, obs=obs.copy(), var=pd.DataFrame({"gene_target": guide_target}, index=pool.guides)),
    )


def _names(what: str, count: int) -> list[str]:
    return [f"{what}{i + 1:0{len(str(count))}d}" for i in range(count)]
