"""Logistic regression of few cells, many times over."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

Array = NDArray[np.float64]
# What scikit-learn's LogisticRegression has by default.
PENALTY = 1.0  # on ‖W‖² / 2, beside the sum of the log likelihoods; none on the intercepts
OPTIONS = {"maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(np.float64).eps}

MOST_FEATURES = 256  # with which solving for Newton's step is sooner than many cheap ones
# Of the squared length of Newton's step, in the metric of the curvature: the loss is within half of it of its minimum.
LAST_STEP = 1e-10  # what is left after one more is its square
SURE_STEP = 1e-6  # the whole step is taken, for rounding would show in a comparison of losses


@final
class Logistic(NamedTuple):
    """A fitted regression.

    Attributes
    ----------
    weights
        Shape ``(k, p + 1)``, the intercept last; with two classes ``(1, p + 1)``, the log odds of the second.
    converged
        Whether the solver stopped by itself.
    """

    weights: Array
    converged: bool

    def probabilities(self, rows: Any) -> Array:
        """Of each class, shape ``(n, k)``."""
        scores = _scores(self.weights, rows)
        if len(self.weights) == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], 1)
        return _softmax(scores)[0]


def fit_logistic(rows: Any, labels: NDArray[np.int64], n_classes: int, max_iter: int) -> Logistic:
    """Fit as scikit-learn's ``LogisticRegression(max_iter=max_iter)`` does: the same objective, start and solver.

    It leaves out what checks and dispatches there at every step, which for some hundred cells takes longer than the
    arithmetic.

    Parameters
    ----------
    rows
        Shape ``(n, p)``, float64, dense or CSR.
    labels
        Class of each row, in ``range(n_classes)``.
    n_classes
        2 or more.
    max_iter
        Most iterations of the solver (L-BFGS-B; Byrd et al. 1995).
    """
    shape = (1 if n_classes == 2 else n_classes), rows.shape[1] + 1
    loss = _binomial if n_classes == 2 else _multinomial
    target = labels.astype(np.float64) if n_classes == 2 else labels
    found = scipy.optimize.minimize(
        lambda w: _penalized(loss, w.reshape(shape), rows, target),
        np.zeros(shape).ravel(),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, **OPTIONS},
    )
    return Logistic(found.x.reshape(shape), found.status == 0)


def fit_binary(rows: Any, labels: NDArray[np.int64], max_iter: int) -> Logistic:
    """The optimum of :func:`fit_logistic` with two classes, by Newton's method where there are few features.

    Its error is then below 1e-9, where scikit-learn's solver stops some 1e-4 away. A step solves for all weights
    (Fisher scoring), and is halved until the loss falls as it should (Armijo).

    Parameters
    ----------
    rows, labels, max_iter
        As for :func:`fit_logistic`; more than `MOST_FEATURES` are left to it.
    """
    if rows.shape[1] > MOST_FEATURES:
        return fit_logistic(rows, labels, 2, max_iter)
    values = rows if isinstance(rows, np.ndarray) else rows.toarray()
    x, target = np.concatenate([values, np.ones((len(values), 1))], 1), labels.astype(np.float64)
    penalty = np.append(np.full(x.shape[1] - 1, PENALTY), 0.0)
    weights, scores = np.zeros(x.shape[1]), np.zeros((len(x), 1))
    loss, slope = _binomial(scores, target)
    for _ in range(max_iter):
        gradient = x.T @ slope[:, 0] + penalty * weights
        probability = slope + target[:, None]
        curvature = (x * (probability * (1 - probability))).T @ x
        curvature.flat[:: len(penalty) + 1] += penalty
        step = np.linalg.solve(curvature, gradient)
        along, length = (x @ step)[:, None], float(gradient @ step)
        share = 1.0
        while True:
            tried = weights - share * step
            value, slope = _binomial(scores - share * along, target)
            value += float(penalty @ tried**2) / 2
            if length <= SURE_STEP or value <= loss - 1e-4 * share * length or share < LAST_STEP:
                break
            share /= 2
        weights, scores, loss = tried, scores - share * along, value
        if length <= LAST_STEP:
            return Logistic(weights[None], True)
    return Logistic(weights[None], False)


def _penalized(loss: Any, weights: Array, rows: Any, target: Any) -> tuple[float, Array]:
    """Mean loss with its penalty, and the gradient."""
    n = rows.shape[0]
    value, slope = loss(_scores(weights, rows), target)
    penalized = weights.copy()
    penalized[:, -1] = 0
    gradient = np.empty_like(weights)
    gradient[:, :-1] = (rows.T @ slope).T
    gradient[:, -1] = slope.sum(0)
    gradient += PENALTY * penalized
    return (value + PENALTY / 2 * float(np.vdot(penalized, penalized))) / n, gradient.ravel() / n


def _scores(weights: Array, rows: Any) -> Array:
    scores: Array = rows @ weights[:, :-1].T
    scores += weights[:, -1]
    return scores


def _binomial(scores: Array, target: Array) -> tuple[float, Array]:
    """Minus the log likelihood, and its derivative by the scores."""
    z = scores[:, 0]
    small = np.exp(-np.abs(z))
    value = float(np.log1p(small).sum() + np.maximum(z, 0).sum() - target @ z)
    return value, (np.where(z >= 0, 1.0, small) / (1 + small) - target)[:, None]


def _multinomial(scores: Array, target: NDArray[np.int64]) -> tuple[float, Array]:
    """As :func:`_binomial`, for several classes."""
    own = np.arange(len(target)), target
    observed = scores[own].sum()
    slope, log_sum = _softmax(scores)
    slope[own] -= 1
    return float(log_sum.sum() - observed), slope


def _softmax(scores: Array) -> tuple[Array, Array]:
    """Probabilities, and the logarithm of the sum that divides them."""
    largest = scores.max(1, keepdims=True)
    terms = np.exp(scores - largest)
    total = terms.sum(1, keepdims=True)
    return terms / total, np.log(total) + largest
