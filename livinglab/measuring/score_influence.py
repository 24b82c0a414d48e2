"""Influence functions of scores without follow-up, as `influence` has them for cohorts with it: see there."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring import logistic
from livinglab.measuring.cohort import Floats
from livinglab.measuring.estimate import Estimate, Sum, quotient
from livinglab.measuring.scoring import Scored, Share, logit


@dataclass(frozen=True)
class LinearisedScores:
    """Scored cases, as `influence.Linear`: nothing is censored, so each weighs 1."""

    cases: Scored

    @property
    def risk(self) -> Floats:
        """The predicted probabilities."""
        return self.cases.risk

    @property
    def case(self) -> Floats:
        """1 for each case with the event."""
        return self.cases.event.astype(np.float64)

    @property
    def control(self) -> Floats:
        """1 for each case without it."""
        return (~self.cases.event).astype(np.float64)

    @property
    def survival(self) -> Sum:
        """The share without the event."""
        free = self.control
        share, n = float(free.mean()), len(free)
        return share, (free - share) / n

    def weighted(self, of_case: Floats, of_control: Floats) -> Sum:
        """The sum over cases of what each contributes."""
        own = of_case + of_control
        return float(own.sum()), own


def auc(cases: Scored, score: Floats | None = None) -> Estimate:
    """As `scoring.auc`, in O(n log n): the structural components of DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837."""
    score = cases.risk if score is None else score
    distinct, place = np.unique(score, return_inverse=True)
    with_event, without = (np.bincount(place[group], minlength=len(distinct)).astype(np.float64) for group in (cases.event, ~cases.event))
    beaten = np.cumsum(without) - 0.5 * without  # by a case with the event: those without it that score less, ties ½
    beaten_by = cases.events - np.cumsum(with_event) + 0.5 * with_event
    pairs = float(cases.events) * cases.non_events
    return quotient(
        (float(with_event @ beaten), np.where(cases.event, beaten[place], beaten_by[place])),
        (pairs, np.where(cases.event, float(cases.non_events), float(cases.events))),
        len(cases),
    )


def gini(cases: Scored) -> Estimate:
    """As `scoring.gini`."""
    area = auc(cases)
    return Estimate(2 * area.value - 1, 2 * area.influence)


def slope(cases: Scored) -> Estimate:
    """As `scoring.slope`; the influence is the score residual times the inverse information (Huber 1967)."""
    n, x, y = len(cases), logit(cases.risk), cases.event.astype(np.float64)
    beta = logistic.fit(x[:, None], y, np.ones((1, n)))[0] if np.ptp(x) > 0 else np.full(2, np.nan)
    if not np.isfinite(beta).all():
        return Estimate.undefined(n)
    fitted = logistic.probability(beta[0] + beta[1] * x)
    spread = fitted * (1 - fitted)
    centred = x - (spread @ x) / spread.sum()  # the intercept's part taken out
    return Estimate(float(beta[1]), n * centred * (y - fitted) / float(spread @ centred**2))


def share(what: Share) -> Estimate:
    """As `scoring.share`."""
    of, among = what
    return quotient((float(of.sum()), of), (float(among.sum()), among), len(of))
