"""Logistic regression under many sets of weights at once, by Newton's method."""

import numpy as np

from livinglab.measuring.cohort import Floats

_STEPS, _CLOSE, _FAR = 40, 1e-9, 1e3
_JITTER = 1e-10
"""Added to the information's diagonal, so that it can always be inverted; it moves no fixed point."""
_LONGEST = 5.0
"""The longest step: Newton's method overshoots where fitted probabilities are near 0 or 1."""


def fit(x: Floats, y: Floats, weights: Floats, start: Floats | None = None, ridge: float = 0.0) -> Floats:
    """Coefficients (replicates, 1 + p), the intercept first; NaN where there is no estimate (separated data).

    Args:
        x: (n, p); y: (n,) 0 or 1; weights: (replicates, n).
        start: (1 + p,) where to begin.
        ridge: penalty ½ ridge ‖β‖², the intercept's left out.
    """
    design = np.column_stack([np.ones(len(x)), x])
    size = design.shape[1]
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(x), size * size)
    penalty = np.full(size, ridge)
    penalty[0] = 0.0
    beta = np.tile(np.zeros(size) if start is None else start, (len(weights), 1))
    length = np.full((len(weights), 1), np.inf)
    for _ in range(_STEPS):
        fitted = probability(beta @ design.T)
        gradient = (weights * (y - fitted)) @ design - penalty * beta
        information = ((weights * fitted * (1 - fitted)) @ squares).reshape(-1, size, size) + np.diag(penalty + _JITTER)
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        length = np.abs(step).max(axis=1, keepdims=True)
        beta = beta + step * np.minimum(1.0, _LONGEST / np.maximum(length, _LONGEST))
        if length.max() < _CLOSE or np.abs(beta).max() > _FAR:
            break
    lost = (length[:, 0] > _CLOSE * 10) | ~np.isfinite(beta).all(axis=1) | (np.abs(beta).max(axis=1) > _FAR)
    return np.where(lost[:, None], np.nan, beta)


def probability(logits: Floats) -> Floats:
    """1 / (1 + exp(−x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
