"""Do the bounds of routing hold? Simulated requests with a known truth, at the sizes of the gates.

    python sandboxes/triage/coverage.py [--simulations 500] [--replicates 600] [--sizes 400,1250,4000]

Requests are drawn from one world: a fifth is out of scope; how likely an answer is right is drawn from a beta distribution, and the
confidence is a little too high; whoever is less sure than 0.8 abstains. Printed is, per metric, how often the true value was on the right side of
either one-sided bound; nominal is the level. `confidence_bands` is of another world, where confidence is right: how often it is above its threshold.
"""

import argparse
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from livinglab.measuring.bounds import both_bounds
from livinglab.measuring.exact import proportion
from livinglab.measuring.loading import load
from livinglab.measuring.resampling import generator, multiplicities
from tests.harnesses import ROOT

LEVEL = 1 - 0.05 / 3
_SERVICES, _OUTSIDE, _ALPHA, _BETA, _ABSTAINS, _TRUTH = 9, 0.2, 2.5, 0.35, 0.8, 1_000_000
EDGES = np.array([0.02, 0.05, 0.1, 0.2])

harness = load(ROOT / "sandboxes" / "triage" / "harness", "abstention")


def draw(n: int, rng: np.random.Generator, surplus: float = 0.02) -> Any:
    """Requests of that number, with confidence too high by `surplus` where there is room."""
    scope = rng.random(n) >= _OUTSIDE
    sure = np.where(scope, rng.beta(_ALPHA, _BETA, n), rng.beta(1, 4, n))
    right = rng.random(n) < sure
    right &= scope | (surplus == 0)  # where confidence is right, it is so out of scope too
    confidence = np.minimum(1.0, sure + surplus)
    service = np.where(scope, rng.integers(0, _SERVICES, n), -1)
    return harness.abstention.Routed(scope, rng.random(n) < 0, service, right, confidence >= _ABSTAINS, confidence, scope)


def weighted(cases: Any) -> dict[str, Callable[[Any], Any]]:
    """Metrics with bounds by resampling, as functions of weights; the difference is between two halves of the cases."""
    first = np.arange(len(cases)) < len(cases) // 2
    one, two = cases.only(first), cases.only(~first)
    of = harness.abstention
    return {
        "balanced_accuracy": lambda w: of.balanced_accuracy(cases, w),
        "overconfidence": lambda w: of.overconfidence(cases, w),
        "aurc": lambda w: of.aurc(cases, w),
        "served_less": lambda w: of.served(one, w[:, first]) - of.served(two, w[:, ~first]),
    }


def shares(cases: Any) -> dict[str, tuple[int, int]]:
    """Metrics that are shares: hits, and of how many."""
    return {
        "coverage": (int((cases.answered & cases.scope).sum()), int(cases.scope.sum())),
        "selective_risk": (int((~cases.right & cases.answered).sum()), int(cases.answered.sum())),
    }


@cache
def truth() -> dict[str, float]:
    """The same of so many requests that they are the truth; the halves are of one world, so they do not differ."""
    everyone = draw(_TRUTH, generator("triage coverage", "truth"))
    found = {name: float(metric(np.ones((1, _TRUTH)))[0]) for name, metric in weighted(everyone).items()}
    return {**found, "served_less": 0.0, **{name: hits / n for name, (hits, n) in shares(everyone).items()}}


def cover(n: int, simulations: int, replicates: int) -> dict[str, tuple[int, int]]:
    """How often the truth was not below the lower, and not above the upper bound; for `confidence_bands`, how often p ≥ 1 − level, twice."""
    held: dict[str, tuple[int, int]] = {}

    def count(name: str, low: float | None, high: float | None) -> None:
        true, (above, below) = truth()[name], held.get(name, (0, 0))
        held[name] = (above + (low is None or low <= true), below + (high is None or true <= high))

    for number in range(simulations):
        rng = generator("triage coverage", f"{n} {number}")
        cases = draw(n, rng)
        weights = multiplicities(n, replicates, rng).astype(np.float64)
        for name, metric in weighted(cases).items():
            count(name, *both_bounds(name, metric(weights)[:, None], LEVEL))
        for name, (hits, of) in shares(cases).items():
            count(name, *proportion(hits, of, LEVEL))
        found = harness.abstention.bands(draw(n, rng, surplus=0.0), EDGES)
        kept = held.get("confidence_bands", (0, 0))[0] + (len(found) * min(band.p for band in found) >= 1 - LEVEL)
        held["confidence_bands"] = (kept, kept)
    return held


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--replicates", type=int, default=600)
    parser.add_argument("--sizes", default="400,1250,4000")
    arguments = parser.parse_args()
    error = (LEVEL * (1 - LEVEL) / arguments.simulations) ** 0.5
    print(f"level {LEVEL:.4f}, {arguments.replicates} replicates, {arguments.simulations} simulated sets of requests per row, ± {error:.3f}")
    print("| n | metric | truth | lower bound holds | upper bound holds |\n|---|---|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        for name, (above, below) in cover(size, arguments.simulations, arguments.replicates).items():
            true = f"{truth()[name]:.4f}" if name in truth() else ""
            print(f"| {size} | {name} | {true} | {above / arguments.simulations:.3f} | {below / arguments.simulations:.3f} |", flush=True)


if __name__ == "__main__":
    main()
