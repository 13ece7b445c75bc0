"""Screens with a known truth, to try methods on and to test them with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pertorch._settings import seed_or_default
from pertorch.ds import _counts
from pertorch.ds._check import in_range, whole_numbers
from pertorch.ds._screen import Screen, annotate
from pertorch.ds._truth import Cells, Pool, effects_of, plant

SHARE_SD = 1.2  # of the log of genes' shares of a cell's counts
BATCH_SD = 0.15  # of the log2 shift of each gene in each batch
DEPTH_SD = 0.3  # of the log of cells' depths


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
    pool = Pool.of(n_targets, guides_per_target, control)
    effect = effects_of(effects, n_targets)

    design_seed, gene_seed, guide_seed = np.random.SeedSequence(seed_or_default(random_state)).spawn(3)
    rng = np.random.default_rng(design_seed)
    program, log2fc = plant(rng, effect, n_genes, n_programs, program_size)
    cells = Cells.draw(rng, n_cells, pool, control_fraction, responder_fraction, n_batches)
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
    return annotate(counts, guide_counts, pool, cells, effect, program, log2fc)
