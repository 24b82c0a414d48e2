"""Scores of cases without follow-up: discrimination, calibration, approval. Everything takes weights (replicates, n)."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring import logistic
from livinglab.measuring.calibration import mean_distance, smooth_basis
from livinglab.measuring.cohort import Bools, Floats, Ints, ratio

_EDGE = 1e-6
"""Predicted probabilities are held this far from 0 and 1 where their logits are taken."""

Share = tuple[Floats, Floats]
"""What each case (n,) has of something, and what it has of that which the something is a share of: 0 or 1 both, for a rate."""


@dataclass(frozen=True)
class Scored:
    """Cases without follow-up: event (n,) did it happen (a default, say); risk (n,) predicted probability that it does."""

    event: Bools
    risk: Floats

    def __len__(self) -> int:
        return len(self.event)

    @property
    def events(self) -> int:
        """Cases with the event."""
        return int(self.event.sum())

    @property
    def non_events(self) -> int:
        """Cases without it."""
        return int((~self.event).sum())

    def only(self, inside: Bools) -> "Scored":
        """The cases (n,) that are inside."""
        return Scored(self.event[inside], self.risk[inside])

    def survival(self, weights: Floats) -> Floats:
        """Share without the event: (replicates,)."""
        return ratio(weights @ ~self.event, weights.sum(axis=1))

    def outcome_weights(self, weights: Floats) -> tuple[Floats, Floats]:
        """The weight of each case as one with, and as one without the event: twice (replicates, n)."""
        return weights * self.event, weights * ~self.event


def _by_score(cases: Scored, weights: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Weight of those with and of those without the event at each distinct score, rising: twice (replicates, scores)."""
    order = np.argsort(score, kind="stable")
    starts = _starts(score[order])
    event, drawn = cases.event[order], weights[:, order]
    worse = np.add.reduceat(drawn * event, starts, axis=1)
    return worse, np.add.reduceat(drawn, starts, axis=1) - worse


def _starts(values: Floats | Ints) -> Ints:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))


def auc(cases: Scored, weights: Floats, score: Floats | None = None) -> Floats:
    """Area under the ROC curve, that a case with the event scores above one without it, ties ½ (Hanley & McNeil 1982): (replicates,)."""
    bad, good = _by_score(cases, weights, cases.risk if score is None else score)
    beaten = (bad * (np.cumsum(good, axis=1) - 0.5 * good)).sum(axis=1)
    return ratio(beaten, bad.sum(axis=1) * good.sum(axis=1))


def gini(cases: Scored, weights: Floats) -> Floats:
    """Gini coefficient (accuracy ratio), 2 AUC − 1: (replicates,)."""
    return 2 * auc(cases, weights) - 1


def ks(cases: Scored, weights: Floats) -> Floats:
    """Kolmogorov–Smirnov distance between the scores of bad and good: (replicates,)."""
    bad, good = _by_score(cases, weights, cases.risk)
    gap = ratio(np.cumsum(bad, axis=1), np.broadcast_to(bad.sum(axis=1, keepdims=True), bad.shape))
    gap = gap - ratio(np.cumsum(good, axis=1), np.broadcast_to(good.sum(axis=1, keepdims=True), good.shape))
    return np.asarray(np.abs(gap).max(axis=1))


def logit(risk: Floats) -> Floats:
    """log(risk / (1 − risk))."""
    held = np.clip(risk, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(held) - np.log1p(-held))


def slope(cases: Scored, weights: Floats) -> Floats:
    """Calibration slope: the logistic coefficient of logit(risk) (Cox 1958): (replicates,). NaN where risks do not differ."""
    x, y = logit(cases.risk)[:, None], cases.event.astype(np.float64)
    if np.ptp(x) == 0:
        return np.full(len(weights), np.nan)
    whole = logistic.fit(x, y, np.ones((1, len(y))))[0]
    return logistic.fit(x, y, weights, whole if np.isfinite(whole).all() else None)[:, 1]


def smooth_observed(cases: Scored, weights: Floats) -> Floats:
    """Observed probability as a smooth function of the predicted one: (replicates, n); NaN where it cannot be fitted.

    A logistic model on a restricted cubic spline of logit(risk), as `calibration.smooth_observed` has it with follow-up.
    """
    x, y = logit(cases.risk), cases.event.astype(np.float64)
    if np.ptp(x) == 0:
        return np.full((len(weights), len(cases)), np.nan)
    basis = smooth_basis(x)
    whole = logistic.fit(basis, y, np.ones((1, len(y))))[0]
    beta = logistic.fit(basis, y, weights, whole if np.isfinite(whole).all() else None)
    return logistic.probability(beta[:, :1] + beta[:, 1:] @ basis.T)


def ici(cases: Scored, weights: Floats) -> Floats:
    """Integrated calibration index: mean |smooth observed − predicted| (Austin & Steyerberg 2019, Stat Med 38:4051): (replicates,)."""
    return mean_distance(smooth_observed(cases, weights), cases.risk, weights)


def approval(cases: Scored, reject_at: float) -> Share:
    """The applicants that are approved, with `risk < reject_at`, among all."""
    return (cases.risk < reject_at).astype(np.float64), np.ones(len(cases))


def approval_of_good(cases: Scored, reject_at: float) -> Share:
    """The same among those who repaid (the true positive rate of approving)."""
    good = (~cases.event).astype(np.float64)
    return good * (cases.risk < reject_at), good


def share(weights: Floats, what: Share) -> Floats:
    """The share: (replicates,). NaN where it is one of nothing."""
    return ratio(weights @ what[0], weights @ what[1])


def commonest(weights: Floats, kinds: Ints) -> Floats:
    """Share of the cases (n,) that are of the commonest kind: (replicates,)."""
    order = np.argsort(kinds, kind="stable")
    counts = np.add.reduceat(weights[:, order], _starts(kinds[order]), axis=1)
    return ratio(counts.max(axis=1), counts.sum(axis=1))
