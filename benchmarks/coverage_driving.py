"""Do the bounds of driving hold? Simulated drives with a known truth, at the sizes of the mobility gates.

    python benchmarks/coverage_driving.py [--simulations 1000] [--replicates 600] [--sizes 100,1700]

Episodes are independent, and unlike in length. In `rare` one in fifty has any of what is counted (a second to all of it), in `common`
one in two. Progress and CO2 are those of a pilot and of a driver who meet the same traffic. Printed is, per measurement, how often
the true value was on the right side of either one-sided bound; nominal is the level. The exact bounds need no simulation: the tests
add their coverage up, and it is never below the level.
"""

import argparse
from collections import Counter
from typing import Any

import numpy as np

from livinglab.measuring.cohort import Floats
from livinglab.measuring.driving import DrivingEvaluation
from livinglab.measuring.recording import Recording
from livinglab.measuring.resampling import generator

LEVEL = 1 - 0.05 / 3
_RARE, _COMMON = 0.02, 0.5
_MEASURED = {"rare": "ttc_exposure", "common": "close_following", "progress": "progress", "co2": "co2_ratio"}
_SECONDS, _PACE, _GRAMS = 40.0, 27.0, 0.16
_PROGRESS, _CLEANER = 0.96, 0.98


def drawn(n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """What each of so many episodes adds up to."""
    duration = rng.uniform(0.5, 1.5, n) * _SECONDS
    traffic = rng.lognormal(0, 0.08, n)
    base = duration * _PACE * traffic
    own = base * _PROGRESS * rng.lognormal(0, 0.05, n)
    return {
        "duration": duration, "critical": duration * (rng.random(n) < _RARE) * rng.uniform(0, 0.3, n),
        "following": duration, "close": duration * (rng.random(n) < _COMMON) * rng.beta(0.5, 2, n),
        "own_distance": own, "base_distance": base, "own_co2": own * _GRAMS * _CLEANER * rng.lognormal(0, 0.15, n) / traffic,
        "base_co2": base * _GRAMS * rng.lognormal(0, 0.15, n) / traffic,
    }  # fmt: skip


def truth() -> dict[str, float]:
    """The ratios of expectations, from very many episodes."""
    many = {name: float(column.mean()) for name, column in drawn(4_000_000, generator("coverage driving", "truth")).items()}
    return {
        "rare": many["critical"] / many["duration"], "common": many["close"] / many["following"],
        "progress": many["own_distance"] / many["base_distance"],
        "co2": many["own_co2"] / many["own_distance"] / (many["base_co2"] / many["base_distance"]),
    }  # fmt: skip


def measured(totals: dict[str, Floats], replicates: int, seed: str) -> list[dict[str, Any]]:
    """What the harness makes of episodes that add up to this."""
    n = len(totals["duration"])
    episodes = [{"family": "dense-traffic", "parameters": {}, "preventable": True, "baseline": {"collision": False}} for _ in range(n)]
    criteria = [{"id": name, "metric": metric, "slice": "all", "baseline": None} for name, metric in _MEASURED.items()]
    context = {
        "criteria": criteria, "levels": dict.fromkeys(_MEASURED, LEVEL), "replicates": replicates, "seed": seed,
        "slices": {"all": {"cohort": "hidden", "where": []}},
    }  # fmt: skip
    evaluation = DrivingEvaluation(Recording(episodes, {}, {}), context)
    evaluation.__dict__["totals"] = totals
    return evaluation.measure()


def cover(n: int, simulations: int, replicates: int) -> dict[str, tuple[int, int]]:
    """How often the truth was above the lower bound, and below the upper one, by measurement."""
    true, above, below = truth(), Counter[str](), Counter[str]()
    for number in range(simulations):
        totals = drawn(n, generator("coverage driving", f"{n} {number}"))
        for name, document in zip(_MEASURED, measured(totals, replicates, f"{n} {number}"), strict=True):
            lower, upper = document["interval"]["lower"], document["interval"]["upper"]
            above[name] += lower <= true[name]
            below[name] += true[name] <= upper
    return {name: (above[name], below[name]) for name in _MEASURED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=600)
    parser.add_argument("--sizes", default="100,1700")
    arguments = parser.parse_args()
    true, count = truth(), arguments.simulations
    error = np.sqrt(LEVEL * (1 - LEVEL) / count)
    print(f"{count} drives, {arguments.replicates} replicates; nominal {LEVEL:.4f} ± {error:.4f}")
    print("| scenarios | measurement | truth | lower bound holds | upper bound holds |\n|---|---|---|---|---|")
    for n in map(int, arguments.sizes.split(",")):
        for name, (above, below) in cover(n, count, arguments.replicates).items():
            print(f"| {n} | {_MEASURED[name]} ({name}) | {true[name]:.4f} | {above / count:.3f} | {below / count:.3f} |")


if __name__ == "__main__":
    main()
