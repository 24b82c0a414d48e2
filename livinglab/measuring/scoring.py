"""Scores of applicants who did or did not default: discrimination, calibration, approval. Everything takes weights (replicates, n)."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring import logistic
from livinglab.measuring.cohort import Bools, Floats, Ints, ratio

_EDGE = 1e-6
"""Predicted probabilities are held this far from 0 and 1 where their logits are taken."""


@dataclass(frozen=True)
class Scored:
    """Applicants: bad (n,) did they default; pd (n,) predicted probability that they do."""

    bad: Bools
    pd: Floats

    def __len__(self) -> int:
        return len(self.bad)

    @property
    def events(self) -> int:
        """Defaults."""
        return int(self.bad.sum())

    @property
    def non_events(self) -> int:
        """Those who repaid."""
        return int((~self.bad).sum())

    def only(self, inside: Bools) -> "Scored":
        """The applicants (n,) that are inside."""
        return Scored(self.bad[inside], self.pd[inside])


def _by_score(cases: Scored, weights: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Weight of the bad and of the good at each distinct score, rising: twice (replicates, scores)."""
    order = np.argsort(score, kind="stable")
    starts = _starts(score[order])
    bad, drawn = cases.bad[order], weights[:, order]
    worse = np.add.reduceat(drawn * bad, starts, axis=1)
    return worse, np.add.reduceat(drawn, starts, axis=1) - worse


def _starts(values: Floats | Ints) -> Ints:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))


def auc(cases: Scored, weights: Floats, score: Floats | None = None) -> Floats:
    """Area under the ROC curve, that a bad applicant scores above a good one, ties ½ (Hanley & McNeil 1982): (replicates,)."""
    bad, good = _by_score(cases, weights, cases.pd if score is None else score)
    beaten = (bad * (np.cumsum(good, axis=1) - 0.5 * good)).sum(axis=1)
    return ratio(beaten, bad.sum(axis=1) * good.sum(axis=1))


def gini(cases: Scored, weights: Floats) -> Floats:
    """Gini coefficient (accuracy ratio), 2 AUC − 1: (replicates,)."""
    return 2 * auc(cases, weights) - 1


def ks(cases: Scored, weights: Floats) -> Floats:
    """Kolmogorov–Smirnov distance between the scores of bad and good: (replicates,)."""
    bad, good = _by_score(cases, weights, cases.pd)
    gap = ratio(np.cumsum(bad, axis=1), np.broadcast_to(bad.sum(axis=1, keepdims=True), bad.shape))
    gap = gap - ratio(np.cumsum(good, axis=1), np.broadcast_to(good.sum(axis=1, keepdims=True), good.shape))
    return np.asarray(np.abs(gap).max(axis=1))


def observed_expected(cases: Scored, weights: Floats) -> Floats:
    """Observed default rate over the mean pd: (replicates,)."""
    return ratio(weights @ cases.bad, weights @ cases.pd)


def logit(pd: Floats) -> Floats:
    """log(pd / (1 − pd))."""
    held = np.clip(pd, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(held) - np.log1p(-held))


def slope(cases: Scored, weights: Floats) -> Floats:
    """Calibration slope: the logistic coefficient of logit(pd) (Cox 1958): (replicates,). NaN where pd does not differ."""
    x, y = logit(cases.pd)[:, None], cases.bad.astype(np.float64)
    if np.ptp(x) == 0:
        return np.full(len(weights), np.nan)
    whole = logistic.fit(x, y, np.ones((1, len(y))))[0]
    return logistic.fit(x, y, weights, whole if np.isfinite(whole).all() else None)[:, 1]


def approval(cases: Scored, weights: Floats, reject_at: float) -> Floats:
    """Share of the applicants that are approved, with `pd < reject_at`: (replicates,)."""
    return ratio(weights @ (cases.pd < reject_at), weights.sum(axis=1))


def approval_of_good(cases: Scored, weights: Floats, reject_at: float) -> Floats:
    """The same of those who repaid (the true positive rate of approving): (replicates,)."""
    return ratio(weights @ ((cases.pd < reject_at) & ~cases.bad), weights @ ~cases.bad)


def commonest(weights: Floats, kinds: Ints) -> Floats:
    """Share of the cases (n,) that are of the commonest kind: (replicates,)."""
    order = np.argsort(kinds, kind="stable")
    counts = np.add.reduceat(weights[:, order], _starts(kinds[order]), axis=1)
    return ratio(counts.max(axis=1), counts.sum(axis=1))
