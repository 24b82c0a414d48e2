"""Discrimination: Uno's C-index, and sensitivity at a threshold."""

import numpy as np

from livinglab.measuring.cohort import Cohort, Floats, ratio


def uno_c(cohort: Cohort, weights: Floats, score: Floats | None = None) -> Floats:
    """Uno's C-index up to the horizon (Uno et al. 2011, Statistics in Medicine 30:1105): (replicates,).

    Comparable are case i, with the event before the horizon, and every j that is known to have lived longer (j's time is
    later, or the same and censored); each pair weighs 1/G(T_i−)². Tied scores count ½. Under resampling a pair weighs the
    product of its multiplicities, and a case is never compared with itself.

    The concordance of all replicates is one matrix product, so it is exact, and costs what BLAS takes for it.
    """
    score = cohort.risk if score is None else score
    cases = np.flatnonzero(cohort.event & (cohort.time < cohort.horizon))
    if not len(cases):
        return np.full(len(weights), np.nan)
    later = (cohort.time[None, :] > cohort.time[cases, None]) | ((cohort.time[None, :] == cohort.time[cases, None]) & ~cohort.event[None, :])
    order = np.sign(score[cases, None] - score[None, :])
    concordance = np.where(later, 0.5 + 0.5 * order, 0.0).astype(np.float32)
    own, _ = cohort.ipcw(weights)
    with np.errstate(invalid="ignore"):
        pull = np.where(weights[:, cases] > 0, weights[:, cases] * own[:, cases] ** 2, 0.0)
    narrow = weights.astype(np.float32).T
    concordant = np.einsum("bi,ib->b", pull, (concordance @ narrow).astype(np.float64), optimize=True)
    comparable = np.einsum("bi,ib->b", pull, (later.astype(np.float32) @ narrow).astype(np.float64), optimize=True)
    return ratio(concordant, comparable)


def sensitivity(cohort: Cohort, weights: Floats, threshold: float) -> Floats:
    """IPCW sensitivity of `risk ≥ threshold` for the event by the horizon (Uno et al. 2007, JASA 102:527): (replicates,)."""
    case, _ = cohort.outcome_weights(weights)
    total = case.sum(axis=1)
    return ratio(case @ (cohort.risk >= threshold), total)
