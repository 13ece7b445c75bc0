"""Principal components of cells × genes."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

COVARIANCE_GENES = 2000


@final
class PCA(NamedTuple):
    """Scores ``(n, k)``, loadings ``(p, k)``, variances ``(k,)`` and their share of the whole ``(k,)``."""

    scores: NDArray[np.floating]
    loadings: NDArray[np.floating]
    variance: NDArray[np.floating]
    variance_ratio: NDArray[np.floating]


def principal_components(values: Any, n_comps: int) -> PCA:
    """Leading components of centred data, through scikit-learn; sparse data stay sparse.

    From the covariance where that is small, else by ARPACK.

    Parameters
    ----------
    values
        Shape ``(n, p)``: an array or a CSR matrix.
    n_comps
        How many, below ``min(n, p)``. Signs are fixed: the largest loading of each is positive.
    """
    from sklearn import decomposition

    solver = decomposition.PCA(
        n_comps, svd_solver="covariance_eigh" if values.shape[1] <= COVARIANCE_GENES else "arpack", random_state=0
    )
    scores, loadings = solver.fit_transform(values), solver.components_.T
    signs = np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_comps)])
    return PCA(scores * signs, loadings * signs, solver.explained_variance_, solver.explained_variance_ratio_)
