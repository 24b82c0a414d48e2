"""Cox's proportional hazards under many weights at once (Breslow's handling of ties)."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Floats, Ints, behind

_STEPS = 25
_TOLERANCE = 1e-8
_MAX_STEP = 2.0


@dataclass(frozen=True)
class Fit:
    """beta: (replicates, covariates), NaN where no estimate exists; hazard: (replicates, distinct times) cumulative baseline."""

    beta: Floats
    hazard: Floats


def _reverse_cumsum(values: Floats, starts: Ints) -> Floats:
    """The sum from each start on. The last group, which may be large, is only summed up."""
    return np.concatenate((behind(values, starts[:-1], int(starts[-1])), values[:, starts[-1] :].sum(axis=1, keepdims=True)), axis=1)


def fit(x: Floats, event: Floats, starts: Ints, weights: Floats, start: Floats | None = None) -> Fit:
    """Maximise the weighted partial likelihood by Newton's method, in every replicate at the same time.

    Args:
        x: (n, p) covariates, cases sorted by time.
        event: (n,) 1 where the case's time is that of its event.
        starts: (m,) index of the first case of each distinct time.
        weights: (replicates, n).
        start: (p,) where to begin; the full sample's estimate makes replicates converge in a few steps.
    """
    count, (_n, p) = len(weights), x.shape
    beta = np.tile(np.zeros(p) if start is None else start, (count, 1))
    deaths = np.add.reduceat(weights * event, starts, axis=1)
    total = (weights * event) @ x
    open_ = np.ones(count, dtype=bool)
    for _ in range(_STEPS):
        w, b = weights[open_], beta[open_]
        gradient, information = _derivatives(x, w * np.exp(np.clip(b @ x.T, -500, 500)), starts, deaths[open_], total[open_])
        solvable = np.linalg.cond(information) < 1e12  # noqa: PLR2004 - beyond this nothing is left of double precision
        step = np.full_like(b, np.nan)
        step[solvable] = np.linalg.solve(information[solvable], gradient[solvable, :, None])[:, :, 0]
        size = np.abs(step).max(axis=1, keepdims=True)
        beta[open_] = b + step * np.minimum(1.0, _MAX_STEP / np.where(size > 0, size, 1.0))
        done = ~(size[:, 0] > _TOLERANCE)
        open_[np.flatnonzero(open_)[done]] = False
        if not open_.any():
            break
    beta[open_] = np.nan  # monotone likelihood: there is no maximum
    at_risk = _reverse_cumsum(weights * np.exp(np.clip(beta @ x.T, -500, 500)), starts)
    hazard = np.cumsum(np.divide(deaths, at_risk, out=np.zeros_like(deaths), where=at_risk > 0), axis=1)
    return Fit(beta, np.where(np.isnan(beta[:, :1]), np.nan, hazard))


def _derivatives(x: Floats, relative: Floats, starts: Ints, deaths: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Gradient (replicates, p) and information (replicates, p, p) of the log partial likelihood."""
    p = x.shape[1]
    s0 = _reverse_cumsum(relative, starts)
    inverse = np.divide(1.0, s0, out=np.zeros_like(s0), where=s0 > 0)
    means = [_reverse_cumsum(relative * x[:, k], starts) * inverse for k in range(p)]
    gradient = total - np.stack([(deaths * mean).sum(axis=1) for mean in means], axis=1)
    information = np.empty((len(relative), p, p))
    for j in range(p):
        for k in range(j, p):
            second = _reverse_cumsum(relative * (x[:, j] * x[:, k]), starts) * inverse
            information[:, j, k] = information[:, k, j] = (deaths * (second - means[j] * means[k])).sum(axis=1)
    return gradient, information
