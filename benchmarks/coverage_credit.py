"""Do the bounds of credit scoring hold? Simulated portfolios with a known truth, at the sizes and default rates of the fintech gates.

    python benchmarks/coverage_credit.py [--simulations 500] [--replicates 600] [--sizes 400,3000]

Each portfolio is drawn from one world: logit of the default rate is linear in one covariate, about 29 % default, one applicant in
five is of the protected group and somewhat riskier. The scores that are measured are a little too sure of themselves. Printed
is, per metric, how often the true value was on the right side of either one-sided bound; nominal is the level.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from livinglab.measuring import calibration, scoring
from livinglab.measuring.bounds import both_bounds
from livinglab.measuring.cohort import Bools, Floats
from livinglab.measuring.logistic import probability
from livinglab.measuring.resampling import generator, multiplicities
from livinglab.measuring.scoring import Scored, Share

LEVEL, REJECT_AT = 1 - 0.05 / 3, 0.4
_BASE, _BETA, _SURE, _BIAS, _RIVAL, _SHIFT, _SHARE = -1.2, 1.2, 1.05, 0.03, 0.5, 0.4, 0.2
_TRUTH = 2_000_000


@dataclass(frozen=True)
class Portfolio:
    """Applicants, the baseline's score, and who is of the protected group: (n,) each."""

    cases: Scored
    rival: Floats
    protected: Bools


def draw(n: int, rng: np.random.Generator) -> Portfolio:
    """A portfolio of that size."""
    protected = rng.random(n) < _SHARE
    x = rng.normal(size=n) + _SHIFT * protected
    bad = rng.random(n) < probability(_BASE + _BETA * x)
    return Portfolio(Scored(bad, probability(_BIAS + _SURE * (_BASE + _BETA * x))), x + rng.normal(0, _RIVAL, n), protected)


def metrics(of: Portfolio) -> dict[str, Callable[[Floats], Floats]]:
    """The metrics as functions of weights."""
    cases, one, two = of.cases, of.cases.only(of.protected), of.cases.only(~of.protected)

    def split(rate: Callable[[Scored, float], Share], w: Floats) -> tuple[Floats, Floats]:
        return scoring.share(w[:, of.protected], rate(one, REJECT_AT)), scoring.share(w[:, ~of.protected], rate(two, REJECT_AT))

    def ratio(w: Floats) -> Floats:
        first, second = split(scoring.approval, w)
        return first / second

    def difference(w: Floats) -> Floats:
        first, second = split(scoring.approval_of_good, w)
        return first - second

    return {
        "auc": lambda w: scoring.auc(cases, w),
        "delta_auc": lambda w: scoring.auc(cases, w) - scoring.auc(cases, w, of.rival),
        "ks": lambda w: scoring.ks(cases, w),
        "observed_expected": lambda w: calibration.observed_expected(cases, w),
        "calibration_slope": lambda w: scoring.slope(cases, w),
        "adverse_impact_ratio": ratio,
        "equal_opportunity_difference": difference,
    }


@cache
def truth() -> dict[str, float]:
    """The same metrics of so many applicants that they are the truth."""
    everyone = draw(_TRUTH, generator("credit coverage", "truth"))
    return {name: float(metric(np.ones((1, _TRUTH)))[0]) for name, metric in metrics(everyone).items()}


def cover(n: int, simulations: int, replicates: int) -> dict[str, tuple[int, int]]:
    """How often the truth was not below the lower, and not above the upper bound, over simulated portfolios of size n."""
    held: dict[str, tuple[int, int]] = {}
    for number in range(simulations):
        rng = generator("credit coverage", f"{n} {number}")
        portfolio = draw(n, rng)
        weights = multiplicities(n, replicates, rng).astype(np.float64)
        for name, metric in metrics(portfolio).items():
            low, high = both_bounds(name, metric(weights)[:, None], LEVEL)
            true, (above, below) = truth()[name], held.get(name, (0, 0))
            held[name] = (above + (low is None or low <= true), below + (high is None or true <= high))
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--replicates", type=int, default=600)
    parser.add_argument("--sizes", default="400,3000")
    arguments = parser.parse_args()
    error = (LEVEL * (1 - LEVEL) / arguments.simulations) ** 0.5
    print(f"level {LEVEL:.4f}, {arguments.replicates} replicates, {arguments.simulations} simulated portfolios per row, ± {error:.3f}")
    print("| n | metric | truth | lower bound holds | upper bound holds |\n|---|---|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        for name, (above, below) in cover(size, arguments.simulations, arguments.replicates).items():
            print(
                f"| {size} | {name} | {truth()[name]:.4f} | {above / arguments.simulations:.3f} | {below / arguments.simulations:.3f} |", flush=True
            )


if __name__ == "__main__":
    main()
