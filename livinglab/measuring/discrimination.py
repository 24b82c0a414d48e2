"""Discrimination: Uno's C-index, and sensitivity at a threshold."""

import numpy as np

from livinglab.measuring.cohort import Cohort, Floats, ratio


def uno_c(cohort: Cohort, weights: Floats, score: Floats | None = None) -> Floats:
    """Uno's C-index up to the horizon (Uno et al. 2011, Statistics in Medicine 30:1105): (replicates,).

    Comparable are case i, with the event before the horizon, and every j that is known to have lived longer (j's time is
    later, or the same and censored); each pair weighs 1/G(T_i−)². Tied scores count ½. Under resampling a pair weighs the
    product of its multiplicities, and a case is never compared with itself.

    The concordance of all replicates is one matrix product of counts and halves, so it is exact, and costs what BLAS takes.
    """
    score = cohort.risk if score is None else score
    cases = np.flatnonzero(cohort.event & (cohort.time < cohort.horizon))
    later = (cohort.time[None, :] > cohort.time[cases, None]) | ((cohort.time[None, :] == cohort.time[cases, None]) & ~cohort.event[None, :])
    cases, later = cases[later.any(axis=1)], later[later.any(axis=1)]
    if not len(cases):
        return np.full(len(weights), np.nan)
    order = np.sign(score[cases, None] - score[None, :])
    concordance = np.where(later, 0.5 + 0.5 * order, 0.0).astype(np.float32)
    own, _ = cohort.ipcw(weights)
    with np.errstate(invalid="ignore"):
        pull = np.where(weights[:, cases] > 0, weights[:, cases] * own[:, cases] ** 2, 0.0)
    beaten = concordance @ weights.astype(np.float32).T
    concordant = np.einsum("bi,ib->b", pull, beaten.astype(np.float64))
    # Those known to live longer than a case stand behind all events of its time.
    behind = np.concatenate((np.cumsum(weights[:, ::-1], axis=1)[:, ::-1], np.zeros((len(weights), 1))), axis=1)
    comparable = np.einsum("bi,bi->b", pull, behind[:, np.argmax(later, axis=1)])
    return ratio(concordant, comparable)


def sensitivity(cohort: Cohort, weights: Floats, threshold: float) -> Floats:
    """IPCW sensitivity of `risk ≥ threshold` for the event by the horizon (Uno et al. 2007, JASA 102:527): (replicates,)."""
    case, _ = cohort.outcome_weights(weights)
    total = case.sum(axis=1)
    return ratio(case @ (cohort.risk >= threshold), total)
