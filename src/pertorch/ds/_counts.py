"""Drawing counts: negative binomial genes, guides over an ambient pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

CHUNK = 1_000  # cells; each chunk has its own stream, so the number of threads changes nothing
THREADS = 4


def gene_counts(
    seed: np.random.SeedSequence,
    base: NDArray[np.float64],
    batch: NDArray[np.int64],
    fold: NDArray[np.float64],
    state: NDArray[np.int64],
    depth: NDArray[np.float64],
    dispersion: float,
) -> sp.csr_matrix:
    """Negative binomial counts, as a Poisson whose rate is gamma distributed.

    Parameters
    ----------
    seed
        Where the chunks' streams come from.
    base
        Expression in each batch, batches × genes, any unit.
    batch, state
        Batch and state of each cell: its rows of `base` and `fold`.
    fold
        Fold change in each state, states × genes.
    depth
        Expected counts of each cell.
    dispersion
        Variance is ``mean + dispersion · mean²``.

    Returns
    -------
    Cells × genes, CSR float32.
    """

    def draw(start: int, stream: np.random.SeedSequence) -> sp.csr_matrix:
        rng = np.random.default_rng(stream)
        rows = slice(start, start + CHUNK)
        mean = base[batch[rows]] * fold[state[rows]]
        mean *= (depth[rows] / mean.sum(1))[:, None]
        return sp.csr_matrix(_negative_binomial(rng, mean, dispersion).astype(np.float32))

    starts = range(0, len(batch), CHUNK)
    with ThreadPoolExecutor(THREADS) as pool:  # numpy's generators release the interpreter's lock
        return sp.vstack(list(pool.map(draw, starts, seed.spawn(len(starts)))), format="csr")


def guide_counts(
    rng: np.random.Generator,
    guide: NDArray[np.int64],
    n_guides: int,
    mean: float,
    dispersion: float,
    ambient: float,
) -> sp.csr_matrix:
    """Negative binomial counts of each cell's own guide, and Poisson ones of what floats in the pool.

    Parameters
    ----------
    rng
        Where the counts are drawn from.
    guide
        The guide that each cell carries.
    n_guides
        How many there are.
    mean, dispersion
        Of the counts of the cell's own guide.
    ambient
        Mean of all ambient counts of a cell; guides float in proportion to the cells that carry them.

    Returns
    -------
    Cells × guides, CSR float32.
    """
    n_cells = len(guide)
    own = _negative_binomial(rng, np.full(n_cells, mean), dispersion)
    n_ambient = rng.poisson(ambient, n_cells)
    floating = guide[rng.integers(n_cells, size=n_ambient.sum())]
    cells = np.arange(n_cells)
    rows, columns = np.concatenate([cells, np.repeat(cells, n_ambient)]), np.concatenate([guide, floating])
    values = np.concatenate([own, np.ones(len(floating), dtype=own.dtype)]).astype(np.float32)
    counts = sp.csr_matrix((values, (rows, columns)), shape=(n_cells, n_guides))
    counts.eliminate_zeros()
    return counts


def _negative_binomial(rng: np.random.Generator, mean: NDArray[np.floating], dispersion: float) -> NDArray[np.int64]:
    if dispersion == 0:
        return rng.poisson(mean)
    shape = 1 / dispersion
    rate = rng.standard_gamma(shape, mean.shape, dtype=np.float32)
    rate *= (mean / shape).astype(np.float32)
    return rng.poisson(rate)
