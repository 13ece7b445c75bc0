"""Linear discriminant analysis by singular values (Fisher 1936; solver as in scikit-learn)."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-4


def discriminants(features: Tensor, codes: Tensor, n_classes: int) -> Tensor:
    """Directions in which classes differ most, relative to the spread within them.

    Features are whitened within classes, then the class means are rotated to their principal axes.

    Parameters
    ----------
    features
        Shape ``(n, d)``, float64.
    codes
        Shape ``(n,)``, int64: class of each cell.
    n_classes
        Number of classes, each of which occurs.

    Returns
    -------
    Loadings of the features, shape ``(d, ≤ n_classes − 1)``, by falling importance, of either sign: ``(features − their
    mean) @ loadings`` is the embedding. The scatter within classes is scaled by 1/n.
    """
    n = len(features)
    counts = torch.bincount(codes, minlength=n_classes).to(features.dtype)
    means = torch.zeros(n_classes, features.shape[1], dtype=features.dtype, device=features.device)
    means.index_add_(0, codes, features).div_(counts[:, None])
    within = features - means[codes]
    spread = within.square().mean(0).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    whiten = _whitening(within.div_(spread * n**0.5)) / spread[:, None]
    overall = features.mean(0)
    between = (counts / max(1, n_classes - 1)).sqrt()[:, None] * (means - overall)
    _, sizes, axes = torch.linalg.svd((between @ whiten).cpu(), full_matrices=False)  # classes × rank: LAPACK is sooner
    rank = min(int((sizes > TOLERANCE * sizes[:1]).sum()), n_classes - 1)
    return whiten @ axes[:rank].T.to(whiten.device)


def _whitening(rows: Tensor) -> Tensor:
    """W with ``(rows W)ᵀ (rows W) = 1`` on the span of the singular vectors whose values exceed the tolerance.

    From the eigenvectors of ``rowsᵀ rows``, ten times sooner than singular values. These lose half the digits; so
    lengths and angles are measured once more on the rows that they make.
    """
    axes = torch.linalg.eigh(rows.T @ rows).eigenvectors
    along = rows @ axes
    sizes = along.norm(dim=0)
    kept = sizes > TOLERANCE
    along, axes = along[:, kept] / sizes[kept], axes[:, kept] / sizes[kept]
    return torch.linalg.solve_triangular(torch.linalg.cholesky(along.T @ along), axes.T, upper=False).T
