"""As benchmarks/chance.py, for the mobility sandbox.

    python benchmarks/chance_mobility.py [--simulations 500] [--replicates 400] [--csv sandboxes/mobility/chance.csv]

Nothing is driven: each simulated run has as many scenarios of each family as the specification asks for, and what a scenario adds up to
is drawn from the table below, which is what the reference pilot's drives came to (rounded, and not in its favour). The controllers that
are judged differ in one thing, how often they collide in a preventable scenario of any family: never, once in 5,000, once in 1,000.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.chance import Shares, context_of, judged_by, options
from livinglab.measuring.cohort import Floats
from livinglab.measuring.driving import DrivingEvaluation
from livinglab.measuring.recording import Recording
from livinglab.measuring.resampling import generator
from tests.harnesses import ROOT, load_spec

SANDBOX = ROOT / "sandboxes" / "mobility"
RATES = {"never": 0.0, "once in 5,000": 1 / 5000, "once in 1,000": 1 / 1000}
_KMH = 1 / 3.6
_GIVE_WAY = 0.7
"""Of the junctions."""
_CRASHES = 0.02
"""Of the scenarios that nobody can prevent."""


@dataclass(frozen=True)
class Kind:
    """What scenarios of a family come to."""

    preventable: float
    """Share of them."""
    seconds: float
    pace: float
    """m/s"""
    critical: tuple[float, float]
    """Share with any time to collision below the threshold, and for how long on average there (s)."""
    progress: tuple[float, float]
    """Of the baseline's way, and its standard deviation."""
    baseline_collides: float = 0.0
    narrow: float = 0.0
    """Share with a narrow encounter."""


FAMILIES = {
    "cut-in": Kind(0.75, 5.4, 23, (0.17, 0.8), (1.04, 0.07), 0.25),
    "cut-out": Kind(0.92, 8.2, 15, (0.03, 0.8), (0.96, 0.03)),
    "hard-braking": Kind(0.94, 8.5, 16, (0.04, 0.9), (0.96, 0.03)),
    "junction": Kind(0.95, 11.0, 9.8, (0.20, 0.4), (0.96, 0.13), 0.03, 0.01),
    "pedestrian": Kind(0.90, 8.1, 6.6, (0.50, 0.9), (0.97, 0.28), 0.07, 0.002),
    "degraded-sensing": Kind(0.71, 6.8, 19, (0.04, 0.6), (0.96, 0.06), 0.17),
    "dense-traffic": Kind(1.0, 40.0, 27.5, (0.002, 1.0), (0.98, 0.02)),
}
_CLOSE, _CLOSE_SHARE = 0.15, (0.7, 1.9)
"""Share of the stretches of dense traffic with any too close following, and the beta distribution of how much of the time."""
_JERKY, _BRAKED = 0.005, 0.005
"""Shares of those with any jerk above the threshold (a second of it), and with hard braking for nothing."""


def drawn(family: str, n: int, rate: float, rng: np.random.Generator) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """So many episodes of a family, and what they add up to."""
    kind, dense = FAMILIES[family], family == "dense-traffic"
    seconds = kind.seconds * rng.lognormal(0, 0.2, n) if not dense else np.full(n, kind.seconds)
    preventable = rng.random(n) < kind.preventable
    collided = rng.random(n) < np.where(preventable, rate, _CRASHES)
    compared = rng.random(n) >= kind.baseline_collides
    base = seconds * kind.pace * rng.lognormal(0, 0.1, n)
    own = base * np.maximum(rng.normal(*kind.progress, n), 0.05)
    totals = {
        "steps": np.round(seconds / (0.1 if dense else 0.05)), "late": np.zeros(n), "duration": seconds, "km": own / 1000, "one": np.ones(n),
        "preventable": preventable, "collided": collided, "narrow": (rng.random(n) < kind.narrow) | collided,
        "critical": (rng.random(n) < kind.critical[0]) * rng.exponential(kind.critical[1], n), "lateral": np.zeros(n),
        "following": 0.9 * seconds, "close": dense * 0.9 * seconds * (rng.random(n) < _CLOSE) * rng.beta(*_CLOSE_SHARE, n),
        "judged": seconds - 1, "jerky": dense * (rng.random(n) < _JERKY) * rng.exponential(1.0, n), "braked": dense * (rng.random(n) < _BRAKED),
        "own_distance": own * compared, "base_distance": base * compared, "own_co2": own * 0.16 * rng.lognormal(0, 0.15, n) * compared,
        "base_co2": base * 0.16 * rng.lognormal(0, 0.15, n) * compared,
    }  # fmt: skip
    totals["valid"] = totals["steps"]
    closing, priority = rng.uniform(10, 60, n) * _KMH, rng.random(n) >= _GIVE_WAY
    episodes = [
        {"family": family, "preventable": bool(preventable[i]), "parameters": {"closing": closing[i], "priority": float(priority[i])},
         "baseline": {"collision": not compared[i]}}
        for i in range(n)
    ]  # fmt: skip
    return episodes, {name: column.astype(np.float64) for name, column in totals.items()}


def evaluation(parameters: dict[str, Any], context: dict[str, Any], rate: float, rng: np.random.Generator) -> DrivingEvaluation:
    """One simulated run."""
    parts = [drawn(family, int(parameters[f"episodes_{family.replace('-', '_')}"]), rate, rng) for family in FAMILIES]
    made = DrivingEvaluation(Recording([episode for episodes, _ in parts for episode in episodes], {}, {}), context)
    made.__dict__["totals"] = {name: np.concatenate([totals[name] for _, totals in parts]) for name in parts[0][1]}
    return made


def main() -> None:
    arguments = options(__doc__)
    spec, shares = load_spec(SANDBOX), Shares()
    for name, rate in RATES.items():
        for number in range(arguments.simulations):
            context = context_of(spec, arguments.replicates, f"{name} {number}")
            run = evaluation(context["parameters"], context, rate, generator("chance mobility", f"{name} {number}"))
            shares.add(name.replace(",", ""), judged_by(spec, run))
    print(f"{arguments.simulations} simulated runs, {arguments.replicates} replicates")
    shares.report(arguments.simulations, arguments.csv)


if __name__ == "__main__":
    main()
