"""Do the bounds of binary risk hold? Simulated studies with a known truth, down to a slice of a hundred events.

    python benchmarks/coverage_binary.py [--simulations 500] [--replicates 600] [--sizes 350,1500] [--methods bootstrap,multiplier]

Each study is drawn from one world: logit of the risk is linear in one covariate, 29 % have the event, one in five is of a group
that is somewhat riskier. The risks that are measured are a little too sure of themselves. Printed is, per metric, how often
the true value was on the right side of either one-sided bound; nominal is the level.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.covering import World, report
from livinglab.measuring import accuracy, calibration, discrimination, influence, score_influence, scoring
from livinglab.measuring.cohort import Bools, Floats
from livinglab.measuring.estimate import Estimate, difference, spread
from livinglab.measuring.logistic import probability
from livinglab.measuring.resampling import generator
from livinglab.measuring.score_influence import LinearisedScores
from livinglab.measuring.scoring import Scored

THRESHOLD = 0.4
GRID = np.round(np.arange(0.1, 0.401, 0.05), 2)
TRUTH = 2_000_000
_BASE, _BETA, _SURE, _BIAS, _RIVAL, _SHIFT, _SHARE = -1.2, 1.2, 1.05, 0.03, 0.5, 0.4, 0.2


@dataclass(frozen=True)
class Study:
    """Cases, the baseline's score, and who is of the riskier group: (n,) each."""

    cases: Scored
    rival: Floats
    first: Bools


def draw(n: int, rng: np.random.Generator) -> Study:
    """A study of that size."""
    first = rng.random(n) < _SHARE
    x = rng.normal(size=n) + _SHIFT * first
    event = rng.random(n) < probability(_BASE + _BETA * x)
    return Study(Scored(event, probability(_BIAS + _SURE * (_BASE + _BETA * x))), x + rng.normal(0, _RIVAL, n), first)


def common(study: Study) -> dict[str, Callable[[Floats], Floats]]:
    """The metrics that credit scoring has too, as functions of weights."""
    cases = study.cases
    return {
        "auc": lambda w: scoring.auc(cases, w),
        "delta_auc": lambda w: scoring.auc(cases, w) - scoring.auc(cases, w, study.rival),
        "observed_expected": lambda w: calibration.observed_expected(cases, w),
        "calibration_slope": lambda w: scoring.slope(cases, w),
    }


def resampled(study: Study) -> dict[str, Callable[[Floats], Floats]]:
    """The metrics as functions of weights."""
    cases, one, two = study.cases, study.cases.only(study.first), study.cases.only(~study.first)

    def sensitivity(part: Scored, w: Floats) -> Floats:
        return discrimination.sensitivity(part, w, THRESHOLD)

    return {
        **common(study),
        "ici": lambda w: scoring.ici(cases, w),
        "brier": lambda w: accuracy.brier(cases, w),
        "ipa": lambda w: accuracy.ipa(cases, w),
        "net_benefit_gain": lambda w: accuracy.net_benefit_gain(cases, w, GRID),
        "sensitivity": lambda w: sensitivity(cases, w),
        "specificity": lambda w: discrimination.specificity(cases, w, THRESHOLD),
        "sensitivity_difference": lambda w: sensitivity(one, w[:, study.first]) - sensitivity(two, w[:, ~study.first]),
    }


def common_closed(study: Study) -> dict[str, Estimate]:
    """Those of `common`, with their influence functions."""
    area = score_influence.auc(study.cases)
    return {
        "auc": area,
        "delta_auc": difference(area, score_influence.auc(study.cases, study.rival)),
        "observed_expected": influence.observed_expected(LinearisedScores(study.cases)),
        "calibration_slope": score_influence.slope(study.cases),
    }


def by_group(study: Study, metric: Callable[[Scored], Estimate]) -> tuple[Estimate, Estimate]:
    """A metric of the riskier group, and of the others, as estimates of the whole study."""
    n = len(study.first)
    first, second = (spread(metric(study.cases.only(g)), np.flatnonzero(g), n) for g in (study.first, ~study.first))
    return first, second


def closed(study: Study) -> dict[str, Estimate]:
    """The metrics that have an influence function."""
    part = LinearisedScores(study.cases)
    return {
        **common_closed(study),
        "brier": influence.brier(part),
        "ipa": influence.ipa(part),
        "sensitivity": influence.sensitivity(part, THRESHOLD),
        "specificity": influence.specificity(part, THRESHOLD),
        "sensitivity_difference": difference(*by_group(study, lambda cases: influence.sensitivity(LinearisedScores(cases), THRESHOLD))),
    }


@cache
def truth() -> dict[str, float]:
    """The same metrics of so many cases that they are the truth, or, for ici, by its definition."""
    study = draw(TRUTH, generator("binary coverage", "truth"))
    ones = np.ones((1, TRUTH))
    values = {name: float(metric(ones).min()) for name, metric in resampled(study).items() if name != "ici"}
    true = probability((scoring.logit(study.cases.risk) - _BIAS) / _SURE)
    return {**values, "ici": float(np.abs(true - study.cases.risk).mean())}


WORLD = World("binary coverage", draw, resampled, closed, truth, lambda study: study.cases.events)

if __name__ == "__main__":
    report(WORLD, __doc__, "350,1500")
