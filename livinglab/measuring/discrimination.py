"""Discrimination: Uno's C-index, and sensitivity at a threshold."""

import numpy as np

from livinglab.measuring.cohort import Cohort, Floats, Ints, behind, ratio
from livinglab.measuring.slices import Cases

_CASES = 256
"""Cases whose pairs are compared at a time: enough for BLAS, few enough for memory."""


def uno_c(cohort: Cohort, weights: Floats, score: Floats | None = None) -> Floats:
    """Uno's C-index up to the horizon (Uno et al. 2011, Statistics in Medicine 30:1105): (replicates,).

    Comparable are case i, with the event before the horizon, and every j that is known to have lived longer (j's time is
    later, or the same and censored); each pair weighs 1/G(T_i−)². Tied scores count ½. Under resampling a pair weighs the
    product of its multiplicities, and a case is never compared with itself.

    The concordance of all replicates is one matrix product of counts and halves, so it is exact, and costs what BLAS takes.
    """
    score = cohort.risk if score is None else score
    # Those known to live longer than a case stand behind all events of its time.
    after = np.searchsorted(cohort.time, cohort.time, side="left") + _events_at(cohort)
    cases = np.flatnonzero(cohort.event & (cohort.time < cohort.horizon) & (after < len(cohort)))
    if not len(cases):
        return np.full(len(weights), np.nan)
    own, _ = cohort.ipcw(weights)
    with np.errstate(invalid="ignore"):
        pull = np.where(weights[:, cases] > 0, weights[:, cases] * own[:, cases] ** 2, 0.0)
    narrow = np.ascontiguousarray(weights.T, dtype=np.float32)
    concordant = np.zeros(len(weights))
    for start in range(0, len(cases), _CASES):
        block = cases[start : start + _CASES]
        mine, first = score[block, None], int(after[block[0]])
        beaten = (mine > score[first:]).view(np.uint8) + (mine >= score[first:])
        beaten[np.arange(first, len(cohort)) < after[block, None]] = 0
        counts = (beaten.astype(np.float32) @ narrow[first:]).astype(np.float64)
        concordant += 0.5 * np.einsum("bi,ib->b", pull[:, start : start + _CASES], counts)
    comparable = np.einsum("bi,bi->b", pull, behind(weights, after[cases], cohort.within[0] + 1))
    return ratio(concordant, comparable)


def _events_at(cohort: Cohort) -> Ints:
    """For each case, the number of events at its time."""
    return np.bincount(cohort.group, cohort.event, len(cohort.starts)).astype(np.int64)[cohort.group]


def sensitivity(cohort: Cases, weights: Floats, threshold: float) -> Floats:
    """Sensitivity of `risk ≥ threshold`; with follow-up, IPCW for the event by the horizon (Uno et al. 2007, JASA 102:527): (replicates,)."""
    case, _ = cohort.outcome_weights(weights)
    total = case.sum(axis=1)
    return ratio(case @ (cohort.risk >= threshold), total)


def specificity(cohort: Cases, weights: Floats, threshold: float) -> Floats:
    """Specificity of `risk ≥ threshold`: the share without the event whose risk is below (IPCW as above): (replicates,)."""
    _, control = cohort.outcome_weights(weights)
    return ratio(control @ (cohort.risk < threshold), control.sum(axis=1))
