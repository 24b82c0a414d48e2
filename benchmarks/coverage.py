"""Do the bounds hold? Simulated studies with a known truth, at the sizes, event rate and level of the medicine gates.

    python benchmarks/coverage.py [--simulations 500] [--replicates 600] [--sizes 3150,1400,480] [--methods bootstrap,multiplier]

Each simulated study is drawn from one world (Weibull times whose log hazard depends on one covariate, 22 % events by ten
years, censoring as in FLChain: some throughout, the rest after the tenth year). The model that is measured is a little too
sure of itself. Printed is, per metric, how often the true value was on the right side of either one-sided bound; nominal is the
level.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.covering import World, report
from livinglab.measuring import accuracy, calibration, discrimination, influence
from livinglab.measuring.cohort import Bools, Cohort, Floats
from livinglab.measuring.estimate import Estimate, difference, spread
from livinglab.measuring.influence import Linearised
from livinglab.measuring.resampling import generator

HORIZON, THRESHOLD = 10.0, 0.3
GRID = np.round(np.arange(0.1, 0.401, 0.05), 2)
_BETA, _BASE, _SHAPE = 1.5, 0.135, 1.3
_SURE, _BIAS = 1.04, 0.02
_RIVAL = 0.35
_TRUTH = 2_000_000


@dataclass(frozen=True)
class Study:
    """Cases in the order of the cohort; `rival` is the baseline's score, `first` a group that has nothing to do with risk."""

    cohort: Cohort
    rival: Floats
    first: Bools


def draw(n: int, rng: np.random.Generator, *, censored: bool = True) -> Study:
    """A study of that size."""
    x = rng.normal(size=n)
    died = HORIZON * (rng.exponential(size=n) / (_BASE * np.exp(_BETA * x))) ** (1 / _SHAPE)
    left = np.where(rng.random(n) < 0.17, rng.uniform(0, HORIZON, n), rng.uniform(HORIZON, 14, n)) if censored else np.full(n, np.inf)
    risk = 1 - np.exp(-_BASE * np.exp(_SURE * _BETA * x + _BIAS))
    cohort, order = Cohort.sort(np.minimum(died, left), died <= left, risk, HORIZON)
    return Study(cohort, (x + rng.normal(0, _RIVAL, n))[order], (rng.random(n) < 0.5)[order])


def _part(study: Study, inside: Bools) -> Cohort:
    c = study.cohort
    return Cohort(c.time[inside], c.event[inside], c.risk[inside], c.horizon)


def resampled(study: Study) -> dict[str, Callable[[Floats], Floats]]:
    """The metrics as functions of weights."""
    c, one, two = study.cohort, _part(study, study.first), _part(study, ~study.first)

    def sensitivity(part: Cohort, w: Floats) -> Floats:
        return discrimination.sensitivity(part, w, THRESHOLD)

    return {
        "uno_c": lambda w: discrimination.uno_c(c, w),
        "delta_uno_c": lambda w: discrimination.uno_c(c, w) - discrimination.uno_c(c, w, study.rival),
        "calibration_slope": lambda w: calibration.slope(c, w),
        "observed_expected": lambda w: calibration.observed_expected(c, w),
        "ici": lambda w: calibration.ici(c, w),
        "ipa": lambda w: accuracy.ipa(c, w),
        "net_benefit_gain": lambda w: accuracy.net_benefit_gain(c, w, GRID),
        "sensitivity": lambda w: sensitivity(c, w),
        "sensitivity_difference": lambda w: sensitivity(one, w[:, study.first]) - sensitivity(two, w[:, ~study.first]),
    }


def closed(study: Study) -> dict[str, Estimate]:
    """The metrics that have an influence function."""
    part = Linearised(study.cohort)
    n = len(study.first)
    groups = [spread(influence.sensitivity(Linearised(_part(study, g)), THRESHOLD), np.flatnonzero(g), n) for g in (study.first, ~study.first)]
    return {
        "uno_c": influence.uno_c(part),
        "delta_uno_c": difference(influence.uno_c(part), influence.uno_c(part, study.rival)),
        "calibration_slope": influence.slope(part),
        "observed_expected": influence.observed_expected(part),
        "ipa": influence.ipa(part),
        "sensitivity": influence.sensitivity(part, THRESHOLD),
        "sensitivity_difference": difference(*groups),
    }


@cache
def truth() -> dict[str, float]:
    """The same metrics of so many uncensored cases that they are the truth, or, for ici and groups, by their definition."""
    study = draw(_TRUTH, generator("coverage", "truth"), censored=False)
    values = {name: estimate.value for name, estimate in closed(study).items()}
    ones = np.ones((1, _TRUTH))
    linear = (calibration.cloglog(study.cohort.risk) - np.log(_BASE) - _BIAS) / _SURE
    values["ici"] = float(np.abs(1 - np.exp(-_BASE * np.exp(linear)) - study.cohort.risk).mean())
    values["net_benefit_gain"] = float(accuracy.net_benefit_gain(study.cohort, ones, GRID).min())
    values["sensitivity_difference"] = 0.0
    return values


WORLD = World("coverage", draw, resampled, closed, truth, lambda study: study.cohort.events)

if __name__ == "__main__":
    report(WORLD, __doc__, "3150,1400,480")
