"""Do the bounds of credit scoring hold? Simulated portfolios with a known truth, at the sizes and default rates of the fintech gates.

    python benchmarks/coverage_credit.py [--simulations 500] [--replicates 600] [--sizes 400,3000] [--methods bootstrap,multiplier]

The world is that of benchmarks/coverage_binary.py, the riskier group being the protected one. Printed is, per metric, how often
the true value was on the right side of either one-sided bound; nominal is the level.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from benchmarks.coverage_binary import TRUTH, Study, by_group, common, common_closed, draw
from benchmarks.covering import World, report
from livinglab.measuring import score_influence, scoring
from livinglab.measuring.cohort import Floats
from livinglab.measuring.estimate import Estimate, difference, proportion
from livinglab.measuring.resampling import generator
from livinglab.measuring.scoring import Scored, Share

REJECT_AT = 0.4


def resampled(study: Study) -> dict[str, Callable[[Floats], Floats]]:
    """The metrics as functions of weights."""
    cases, one, two = study.cases, study.cases.only(study.first), study.cases.only(~study.first)

    def split(rate: Callable[[Scored, float], Share], w: Floats) -> tuple[Floats, Floats]:
        return scoring.share(w[:, study.first], rate(one, REJECT_AT)), scoring.share(w[:, ~study.first], rate(two, REJECT_AT))

    def ratio(w: Floats) -> Floats:
        first, second = split(scoring.approval, w)
        return first / second

    def gap(w: Floats) -> Floats:
        first, second = split(scoring.approval_of_good, w)
        return first - second

    return {**common(study), "ks": lambda w: scoring.ks(cases, w), "adverse_impact_ratio": ratio, "equal_opportunity_difference": gap}


def closed(study: Study) -> dict[str, Estimate]:
    """The metrics that have an influence function."""
    return {
        **common_closed(study),
        "adverse_impact_ratio": proportion(*by_group(study, lambda cases: score_influence.share(scoring.approval(cases, REJECT_AT)))),
        "equal_opportunity_difference": difference(*by_group(study, lambda cases: score_influence.share(scoring.approval_of_good(cases, REJECT_AT)))),
    }


@cache
def truth() -> dict[str, float]:
    """The same metrics of so many applicants that they are the truth."""
    ones = np.ones((1, TRUTH))
    return {name: float(metric(ones)[0]) for name, metric in resampled(draw(TRUTH, generator("credit coverage", "truth"))).items()}


WORLD = World("credit coverage", draw, resampled, closed, truth, lambda study: study.cases.events)

if __name__ == "__main__":
    report(WORLD, __doc__, "400,3000")
